"""Candidates of a masked sentence, against the rules written out for one sentence at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import RecipeError
from realm.training.candidates import NULL_ROW, choose_candidates, content_digest


def slowly(rows: list[int], digests: list[int], origin: int | None, count: int) -> list[int] | str:
    """The rules for one sentence."""
    real = [(row, digest) for row, digest in zip(rows, digests, strict=True) if row >= 0]
    if len({digest for _, digest in real}) < len(real):
        return "duplicate_candidates"
    kept = [row for row, digest in real if digest != origin]
    return "too_few_candidates" if len(kept) < count - 1 else [NULL_ROW, *kept][:count]


def batches(count: int, k: int) -> st.SearchStrategy[tuple[int, list[tuple[list[int], int]]]]:
    """How many candidates, and for each sentence its retrieved rows, -1 standing for none, and its origin."""
    rows = st.lists(st.integers(-1, 30), min_size=k, max_size=k, unique_by=lambda n: n if n >= 0 else object())
    return st.tuples(st.just(count), st.lists(st.tuples(rows, st.integers(0, 12)), min_size=1, max_size=6))


BATCHES = st.integers(2, 6).flatmap(lambda count: st.integers(count, 9).flatmap(lambda k: batches(count, k)))


@given(BATCHES, st.integers(5, 40), st.booleans())
def test_a_batch_is_what_the_rules_give_for_each_sentence(
    batch: tuple[int, list[tuple[list[int], int]]], contents: int, has_origin: bool
) -> None:
    count, sentences = batch
    retrieved = np.array([rows for rows, _ in sentences], dtype=np.int64)
    digests = (retrieved % contents).astype(np.uint64)  # rows with the same remainder have the same content
    origins = np.array([origin for _, origin in sentences], dtype=np.uint64)
    found = choose_candidates(retrieved, digests, origins if has_origin else None, count)
    skipped: dict[str, int] = {}
    for number, (rows, origin) in enumerate(sentences):
        expected = slowly(rows, digests[number].tolist(), origin if has_origin else None, count)
        assert found.is_usable[number] == (not isinstance(expected, str))
        if isinstance(expected, str):
            skipped[expected] = skipped.get(expected, 0) + 1
        else:
            assert found.rows[number].tolist() == expected
    assert found.skipped == skipped
    assert found.rows.shape == (len(sentences), count)


def test_origin_present_gives_null_and_the_others_and_absent_null_and_the_first() -> None:
    rows = np.array([[10, 11, 12, 13], [10, 11, 12, 13]])
    found = choose_candidates(rows, rows, np.array([11, 99]), 4)
    assert found.rows.tolist() == [[NULL_ROW, 10, 12, 13], [NULL_ROW, 10, 11, 12]]
    assert found.is_usable.all()
    assert found.origins_dropped == 1


def test_digest_is_that_of_title_and_text_together() -> None:
    assert content_digest("Ely", "It is old.") == content_digest("Ely", "It is old.")
    others = [("ElyI", "t is old."), ("", "ElyIt is old."), ("Ely", "It is old"), ("ely", "It is old.")]
    assert content_digest("Ely", "It is old.") not in {content_digest(*other) for other in others}
    assert 0 <= content_digest("", "") < 1 << 64
    assert isinstance(content_digest("é", "\ud800"), int)


def test_digests_of_text_work_as_well_as_numbers() -> None:
    rows = np.array([[1, 2, 3]])
    found = choose_candidates(rows, np.array([["a", "b", "c"]]), np.array(["b"]), 3)
    assert found.rows.tolist() == [[NULL_ROW, 1, 3]]


@pytest.mark.parametrize(("found", "count"), [(7, 8), (3, 1)])
def test_too_few_retrieved_or_wanted_is_refused(found: int, count: int) -> None:
    rows = np.zeros((2, found), dtype=np.int64)
    with pytest.raises(RecipeError, match=r"candidates|expected at least"):
        choose_candidates(rows, rows, None, count)


def test_blocks_that_hold_the_sentence_are_dropped_like_its_own() -> None:
    retrieved = np.array([[4, 7, 9, 2]], dtype=np.int64)
    digests = retrieved.astype(np.uint64)
    holds = np.array([[False, True, False, False]])
    found = choose_candidates(retrieved, digests, np.array([99], dtype=np.uint64), 4, holds)
    assert found.rows.tolist() == [[NULL_ROW, 4, 9, 2]]
    assert found.origins_dropped == 1
