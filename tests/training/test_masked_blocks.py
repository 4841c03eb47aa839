"""Masked sentences of blocks: a function of their seeds alone, uniform over the spans that can be masked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tiny_trunk import tokenizer_of

from realm.corpus.skips import SkipReport
from realm.text.names import RuleTagger
from realm.text.pieces import PieceTokenizer
from realm.text.salient import SalientSentence, SalientSpan, salient_sentences
from realm.training.masked_blocks import Drawn, draw_masked
from realm.training.masking import Masker

TEXT = "The town is Bal. It has Corden, and Hol by the river. Jas it has not. It was built in 1867."


@pytest.fixture(scope="module")
def tokenizer(trunk: Path) -> PieceTokenizer:
    return tokenizer_of(trunk)


def draw(masker: Masker, text: str, seeds: list[str], report: SkipReport | None = None) -> list[Drawn | None]:
    sentences = salient_sentences([text], RuleTagger())[0]
    return draw_masked(
        [text] * len(seeds), [sentences] * len(seeds), masker, seeds, SkipReport() if report is None else report
    )


def hidden(drawn: Drawn | None, tokenizer: PieceTokenizer, text: str = TEXT) -> str:
    """The characters behind the masks."""
    assert drawn is not None
    pieces = tokenizer.encode_batch([text[drawn.start : drawn.end]])[0]
    masked = [n for n, id in enumerate(drawn.sentence.ids) if id != pieces.ids[n]]
    start, end = pieces.offsets[masked[0]][0], pieces.offsets[masked[-1]][1]
    return text[drawn.start + start : drawn.start + end]


def test_every_span_of_the_block_is_masked_equally_often_in_its_own_sentence(tokenizer: PieceTokenizer) -> None:
    drawn = draw(Masker(tokenizer), TEXT, [f"1 {n}" for n in range(3000)])
    counts = Counter(hidden(each, tokenizer) for each in drawn)
    assert set(counts) == {"Bal", "Corden", "Hol", "Jas", "1867"}
    assert all(abs(count - 600) < 90 for count in counts.values())
    for each in drawn:
        assert each is not None
        assert TEXT[each.start : each.end] in {
            "The town is Bal.",
            "It has Corden, and Hol by the river.",
            "Jas it has not.",
            "It was built in 1867.",
        }


@pytest.mark.parametrize("kind", ["salient", "random_token", "random_span"])
def test_an_example_depends_on_its_seed_and_block_alone(tokenizer: PieceTokenizer, kind: str) -> None:
    masker = Masker(tokenizer, kind)  # type: ignore[arg-type]
    seeds = [f"7 {n}" for n in range(40)]
    together = draw(masker, TEXT, seeds)
    assert together == [draw(masker, TEXT, [seed])[0] for seed in seeds]
    assert len({each.sentence.ids.index(tokenizer.special_id("[MASK]")) for each in together if each}) > 1


def test_span_that_cannot_be_masked_is_counted_and_another_one_is_taken(tokenizer: PieceTokenizer) -> None:
    text = "Bal lies in the old town of the river Corden. 😀 is it."
    sentences = [
        SalientSentence(0, 45, (SalientSpan(0, 3, "a"), SalientSpan(38, 44, "b"))),
        SalientSentence(46, 54, (SalientSpan(46, 47, "c"),)),
    ]
    report = SkipReport()
    seeds = [f"2 {n}" for n in range(300)]
    drawn = draw_masked([text] * 300, [sentences] * 300, Masker(tokenizer, max_pieces=5), seeds, report)
    assert {hidden(each, tokenizer, text) for each in drawn} == {"Bal"}
    assert set(report.reasons) == {"beyond_query", "only_unknown"}
    assert "Corden" in report.examples["beyond_query"]


def test_block_without_any_is_none_and_counted(tokenizer: PieceTokenizer) -> None:
    report = SkipReport()
    assert draw(Masker(tokenizer), "nothing is here.", ["a", "b"], report) == [None, None]
    assert draw(Masker(tokenizer, "random_span"), " ", ["a"], report) == [None]
    assert draw(Masker(tokenizer, max_pieces=1), "it is Bal.", ["a"], report) == [None]
    assert report.reasons == {"no_span": 2, "no_sentence": 1, "beyond_query": 1}


def test_random_kinds_draw_any_sentence(tokenizer: PieceTokenizer) -> None:
    text = "It is old. The mill is new. Bal has it."
    drawn = draw(Masker(tokenizer, "random_token"), text, [f"3 {n}" for n in range(600)])
    counts = Counter(text[each.start : each.end] for each in drawn if each)
    assert len(counts) == 3
    assert all(abs(count - 200) < 50 for count in counts.values())
