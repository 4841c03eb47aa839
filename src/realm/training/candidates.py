"""Which blocks a masked sentence is completed from: the retrieved ones without its own, behind the null block.

    retrieved rows ──drop the origin──> the best count - 1 ──prepend null──> count candidates

Knows rows and digests, no texts, no index. Read `choose_candidates`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from realm.artifacts import sha256_of_text
from realm.errors import RecipeError

NULL_ROW: Final = -1
DEFAULT_COUNT: Final = 8


class Candidates(NamedTuple):
    """Candidates of a batch of sentences.

    Attributes:
        rows: (batch, count) int64; column 0 is `NULL_ROW`, then rows of the index, best first. Of no meaning where
            not usable.
        is_usable: (batch,) bool.
        skipped: How many sentences cannot be used, by reason: `duplicate_candidates`, `too_few_candidates`.
        origins_dropped: How many of the usable sentences had their own block retrieved, if it was among the best.
    """

    rows: NDArray[np.int64]
    is_usable: NDArray[np.bool_]
    skipped: dict[str, int]
    origins_dropped: int


def choose_candidates(
    retrieved: NDArray[np.int64],
    digests: NDArray[Any],
    origins: NDArray[Any] | None,
    count: int = DEFAULT_COUNT,
    holds_sentence: NDArray[np.bool_] | None = None,
) -> Candidates:
    """Drop each sentence's own block, put the null block first, cut to `count`.

    Args:
        retrieved: (batch, k) rows of the index, best first; -1 where there was none. k must be at least
            `count`, so that enough are left without the origin.
        digests: (batch, k) what says whether two blocks have the same content, such as `content_digest`.
        origins: (batch,) the digest of the block each sentence was taken from; None if they are from elsewhere.
        count: Candidates of a sentence, the null block among them.
        holds_sentence: (batch, k) further blocks that are dropped like the sentence's own.

    Returns:
        The candidates. A sentence two of whose retrieved blocks have the same content is not usable, nor is one for
        which fewer than `count` - 1 blocks are left.

    Raises:
        RecipeError: `count` is below 2, or fewer than `count` were retrieved.

    Source: google-research `language/realm/preprocessing.py` (865fae6), `postprocess_candidates`.
    Differs: Google asserts that the origin occurs at most once; here such a sentence has duplicates and is counted.
    """
    batch, found = retrieved.shape
    if count < 2:
        raise RecipeError(f"candidates is {count}; expected at least 2, the null block and one more")
    if found < count:
        raise RecipeError(
            f"{found} blocks were retrieved for {count} candidates; expected at least {count}, since the null block "
            "takes one place and a sentence's own block, which is dropped, may take another. "
            "Lower candidates or use a larger corpus."
        )
    is_real = retrieved >= 0
    is_origin = np.zeros_like(is_real) if origins is None else (digests == origins[:, None]) & is_real
    if holds_sentence is not None:
        is_origin |= holds_sentence & is_real
    kept = is_real & ~is_origin
    # A stable sort moves what is dropped to the end and leaves the order of the rest.
    order = np.argsort(~kept, axis=1, kind="stable")[:, : count - 1]
    rows = np.full((batch, count), NULL_ROW, dtype=np.int64)
    rows[:, 1:] = np.take_along_axis(retrieved, order, axis=1)
    has_duplicates = _has_duplicates(digests, is_real)
    has_too_few = ~has_duplicates & (kept.sum(axis=1) < count - 1)
    is_usable = ~has_duplicates & ~has_too_few
    reasons = {"duplicate_candidates": has_duplicates, "too_few_candidates": has_too_few}
    skipped = {reason: int(is_it.sum()) for reason, is_it in reasons.items() if is_it.any()}
    return Candidates(rows, is_usable, skipped, int((is_origin.any(axis=1) & is_usable).sum()))


def content_digest(title: str, text: str) -> int:
    """64 bits that two blocks share if and, but for chance, only if their title and text are the same."""
    return int(sha256_of_text(title, text)[:16], 16)


def _has_duplicates(digests: NDArray[Any], is_real: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether two of a sentence's real candidates have the same digest."""
    # Missing ones are sorted behind the real ones, each row by digest, so equal real ones are neighbours.
    order = np.lexsort((digests, ~is_real), axis=1)
    ordered, real = np.take_along_axis(digests, order, axis=1), np.take_along_axis(is_real, order, axis=1)
    same: NDArray[np.bool_] = ((ordered[:, 1:] == ordered[:, :-1]) & real[:, 1:]).any(axis=1)
    return same
