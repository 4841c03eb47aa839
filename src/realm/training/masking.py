"""Masked sentences: what pre-training asks the model to fill in.

    sentence ─tokenizer─> pieces with offsets ─┬─ salient:      one name or date, every piece wholly inside it
                                               ├─ random_token: 15 % of the pieces, any of them      (ablation)
                                               └─ random_span:  runs of whole words, 15 % in all     (ablation)

Every chosen piece becomes [MASK]; none is kept or replaced by another. All chance comes from the `random.Random` that
is handed in. Knows strings and ids, no networks. Read `Masker` first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, get_args

from realm.errors import RecipeError
from realm.text.pieces import Pieces, PieceTokenizer
from realm.text.salient import SalientSpan

MaskingKind = Literal["salient", "random_token", "random_span"]

SHARE: Final = 0.15
_STOP_CHANCE: Final = 0.2
_MAX_SPAN_WORDS: Final = 10
_TRIES_PER_PIECE: Final = 10
_UNKNOWN: Final = "[UNK]"
_MASK: Final = "[MASK]"


class MaskedSentence(NamedTuple):
    """A sentence with masked pieces.

    Attributes:
        ids: Pieces of the sentence, without special tokens at its ends; masked ones are [MASK].
        positions: Where the pieces to be predicted stand in `ids`, ascending. [CLS] in front adds 1.
        targets: The piece that stood at each of `positions`.
        kind: How it was masked.
    """

    ids: list[int]
    positions: list[int]
    targets: list[int]
    kind: MaskingKind


class Skip(NamedTuple):
    """Why a sentence, or a span of it, cannot be masked.

    Attributes:
        reason: The word it is counted under: `no_span`, `no_whole_piece`, `beyond_query`, `only_unknown`, `no_piece`.
    """

    reason: str


class Masker:
    """Masks sentences for one vocabulary.

    Args:
        tokenizer: Makes word pieces; must have [MASK] and [UNK].
        kind: What is masked.
        max_pieces: The most pieces of a sentence, the query's length without [CLS] and [SEP]; the rest is cut off.
        max_masks: The most pieces to be predicted. Of a longer span the rest is masked without being a target.

    Raises:
        RecipeError: The kind is unknown, or a limit below 1.

    Source: google-research `language/realm/featurization.py` (865fae6), `mask_query`.
    Differs: a sentence with [UNK], or whose length changes in lower case, is kept there where the offsets of its
        pieces are known, which here is always; [UNK] itself is masked, but is never a target.
    """

    def __init__(
        self, tokenizer: PieceTokenizer, kind: MaskingKind = "salient", max_pieces: int = 94, max_masks: int = 10
    ) -> None:
        if kind not in get_args(MaskingKind):
            raise RecipeError(f"masking is {kind!r}; expected one of: {', '.join(get_args(MaskingKind))}")
        if max_pieces < 1 or max_masks < 1:
            raise RecipeError(f"max_pieces is {max_pieces} and max_masks is {max_masks}; both must be at least 1")
        self.tokenizer = tokenizer
        self.kind: MaskingKind = kind
        self.max_pieces = max_pieces
        self.max_masks = max_masks
        self._mask_id = tokenizer.special_id(_MASK)
        self._unknown_id = tokenizer.special_id(_UNKNOWN)

    def mask(self, pieces: Pieces, spans: Sequence[SalientSpan], choice: random.Random) -> MaskedSentence | Skip:
        """Mask a sentence whose pieces are known already.

        Args:
            pieces: Of the sentence.
            spans: Salient spans in characters of the sentence; of no use to the random kinds.
            choice: Source of randomness.

        Returns:
            The masked sentence, its span chosen uniformly; or why that span, or any, cannot be masked.
        """
        if not pieces.ids:
            return Skip("no_piece")
        if self.kind == "salient":
            return self.mask_span(pieces, choice.choice(spans)) if spans else Skip("no_span")
        kept = Pieces(pieces.ids[: self.max_pieces], pieces.offsets[: self.max_pieces])
        budget = min(self.max_masks, max(1, round(SHARE * len(kept.ids))))
        if self.kind == "random_token":
            chosen = sorted(choice.sample(range(len(kept.ids)), budget))
        else:
            chosen = random_spans(kept, budget, choice)
        return self._masked(kept.ids, chosen)

    def mask_span(self, pieces: Pieces, span: SalientSpan) -> MaskedSentence | Skip:
        """Mask every piece that lies wholly inside `span`."""
        chosen = [
            number for number, (start, end) in enumerate(pieces.offsets) if span.start <= start and end <= span.end
        ]
        if not chosen:
            return Skip("no_whole_piece")
        if chosen[-1] >= self.max_pieces:
            return Skip("beyond_query")
        return self._masked(pieces.ids[: self.max_pieces], chosen)

    def _masked(self, ids: list[int], chosen: Sequence[int]) -> MaskedSentence | Skip:
        masked = list(ids)
        for position in chosen:
            masked[position] = self._mask_id
        positions = [position for position in chosen if ids[position] != self._unknown_id][: self.max_masks]
        if not positions:
            return Skip("only_unknown")
        return MaskedSentence(masked, positions, [ids[position] for position in positions], self.kind)


def random_spans(pieces: Pieces, budget: int, choice: random.Random) -> list[int]:
    """Runs of whole words, until `budget` pieces are chosen or none more fits.

    A run's length in words is geometric with stop chance 0.2, drawn anew while above 10; where it begins is uniform.
    A run that overlaps one chosen before, or has more pieces than are left of the budget, is drawn again.

    Args:
        pieces: Of the sentence; a word begins where the piece before does not end.
        budget: At least 1.
        choice: Source of randomness.

    Returns:
        Numbers of the pieces, ascending. If no whole word fits the budget: the first `budget` pieces of one word.

    Source: SpanBERT, Joshi et al. 2020, section 3.1.
    """
    starts = [n for n in range(len(pieces.ids)) if not n or pieces.offsets[n][0] != pieces.offsets[n - 1][1]]
    borders = [*starts, len(pieces.ids)]
    chosen: set[int] = set()
    for _ in range(_TRIES_PER_PIECE * budget):
        words = _span_words(choice)
        first = choice.randrange(len(starts))
        run = range(borders[first], borders[min(first + words, len(starts))])
        if len(run) <= budget - len(chosen) and chosen.isdisjoint(run):
            chosen.update(run)
        if len(chosen) == budget:
            break
    if not chosen:
        first = choice.choice(starts)
        chosen.update(range(first, min(first + budget, len(pieces.ids))))
    return sorted(chosen)


def _span_words(choice: random.Random) -> int:
    while True:
        words = 1
        while choice.random() >= _STOP_CHANCE:
            words += 1
        if words <= _MAX_SPAN_WORDS:
            return words
