"""Blocks to masked sentences, as a pure function of a seed: what a step of pre-training draws.

    block ─ its salient sentences ─ one span, uniformly ─ its sentence ─ Masker ─> MaskedSentence

An example depends on the block, the masker and its seed alone, so a run that is resumed draws the same ones. Every span
that cannot be masked is counted by reason, and another span of the block is taken. Read `draw_masked` first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from realm.corpus.skips import SkipReport, shortened
from realm.text.salient import SalientSentence, SalientSpan
from realm.text.sentences import sentence_spans
from realm.training.masking import MaskedSentence, Masker, Skip


class Drawn(NamedTuple):
    """A masked sentence and where it stands in its block.

    Attributes:
        sentence: Masked.
        start: First character of the sentence in the block.
        end: One past its last character.
    """

    sentence: MaskedSentence
    start: int
    end: int


@dataclass
class _Draw:
    """What is left to try of one block: ranges of sentences, each with the span to mask; the last is tried first."""

    text: str
    tries: list[tuple[int, int, SalientSpan | None]]
    choice: random.Random


def draw_masked(
    texts: Sequence[str],
    sentences: Sequence[Sequence[SalientSentence]],
    masker: Masker,
    seeds: Sequence[str],
    report: SkipReport,
) -> list[Drawn | None]:
    """One masked sentence of each block.

    Args:
        texts: The blocks.
        sentences: Their salient sentences. Of no use to the random kinds of masking, which draw any sentence.
        masker: How sentences are masked.
        seeds: Source of all chance for each block, such as "{seed} {place in the endless order of blocks}".
        report: Counts spans, and whole blocks (`no_span`, `no_sentence`), that cannot be masked.

    Returns:
        For each block its sentence, the span drawn uniformly among those of the block that can be masked (the random
        kinds: the sentence drawn uniformly); None where there is none.
    """
    draws = [
        _prepared(text, found, masker, seed, report) for text, found, seed in zip(texts, sentences, seeds, strict=True)
    ]
    results: list[Drawn | None] = [None] * len(draws)
    pending = [number for number, draw in enumerate(draws) if draw.tries]
    while pending:
        tried = [(number, *draws[number].tries.pop()) for number in pending]
        cut = masker.tokenizer.encode_batch([draws[number].text[start:end] for number, start, end, _ in tried])
        for (number, start, end, span), pieces in zip(tried, cut, strict=True):
            inside = [span._replace(start=span.start - start, end=span.end - start)] if span else []
            masked = masker.mask(pieces, inside, draws[number].choice)
            if isinstance(masked, Skip):
                part = draws[number].text[span.start : span.end] if span else draws[number].text[start:end]
                report.add(masked.reason, f"{masked.reason}: {shortened(part)!r}")
            else:
                results[number] = Drawn(masked, start, end)
        pending = [number for number in pending if results[number] is None and draws[number].tries]
    return results


def _prepared(text: str, sentences: Sequence[SalientSentence], masker: Masker, seed: str, report: SkipReport) -> _Draw:
    choice = random.Random(seed)
    tries: list[tuple[int, int, SalientSpan | None]]
    if masker.kind == "salient":
        tries = [(sentence.start, sentence.end, span) for sentence in sentences for span in sentence.spans]
    else:
        tries = [(start, end, None) for start, end in sentence_spans(text)]
    if not tries:
        reason = "no_span" if masker.kind == "salient" else "no_sentence"
        report.add(reason, f"{reason}: {shortened(text)!r}")
    choice.shuffle(tries)
    return _Draw(text, tries, choice)
