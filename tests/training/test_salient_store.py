"""Salient sentences in a file: the same as before they were written, row by row, or none at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import CorruptFileError, SourceError
from realm.text.names import RuleTagger
from realm.text.salient import SalientSentence, SalientSpan, salient_sentences
from realm.training.candidates import content_digest
from realm.training.salient_store import SalientBlocks, open_salient_blocks, write_salient_blocks
from realm.training.token_store import TrainingBlock

TEXTS = [
    "Ada left Ely in 1867. Nobody came. Bob did, in May 1999.",
    "nothing here. nor here.",
    "Éva saw Köln, on 3 June 1920.",
    "",
]


class Blocks:
    """Blocks in memory."""

    digest = "blocks"
    tokenizer_digest = "tokenizer"

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self.taken = 0

    def __len__(self) -> int:
        return len(self._texts)

    def take(self, rows: Sequence[int]) -> list[TrainingBlock]:
        self.taken += len(rows)
        return [TrainingBlock(str(row), f"T {row}", self._texts[row], [], []) for row in rows]

    def utf8_texts(self, rows: Sequence[int]) -> list[bytes]:
        return [block.text.encode() for block in self.take(rows)]


def span(start: int, end: int, kind: str) -> SalientSpan:
    return SalientSpan(min(start, end), max(start, end), kind)


SPANS = st.builds(span, st.integers(0, 99), st.integers(0, 99), st.sampled_from("abc"))
PLACES = st.integers(0, 2**31 - 1)
SENTENCES = st.lists(st.builds(SalientSentence, PLACES, PLACES, st.lists(SPANS, max_size=3).map(tuple)), max_size=3)


def test_every_row_has_the_sentences_of_its_block(tmp_path: Path) -> None:
    texts = TEXTS * 300
    found = open_salient_blocks(Blocks(texts), RuleTagger(), tmp_path)
    assert len(found) == len(texts)
    assert [found.sentences(row) for row in range(len(texts))] == salient_sentences(texts, RuleTagger())
    assert found.rows.tolist() == [row for row in range(len(texts)) if row % 4 in (0, 2)]
    assert found.span_count == 300 * 8
    assert found.digests[2] == np.uint64(content_digest("T 2", TEXTS[2]))


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), SENTENCES), max_size=6))
@settings(max_examples=25)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, list[SalientSentence]]]
) -> None:
    folder = tmp_path_factory.mktemp("s") / "salient"
    if not any(sentence.spans for _, sentences in rows for sentence in sentences):
        with pytest.raises(SourceError, match="has a name or a date"):
            write_salient_blocks(folder, rows, "corpus", "tagger")
        assert not list(folder.parent.iterdir())
        return
    found = write_salient_blocks(folder, rows, "corpus", "tagger")
    assert [(int(found.digests[n]), found.sentences(n)) for n in range(len(found))] == rows


def test_blocks_are_tagged_once_for_a_tagger(tmp_path: Path) -> None:
    blocks = Blocks(TEXTS)
    seen: list[int] = []
    first = open_salient_blocks(blocks, RuleTagger(), tmp_path, seen.append)
    assert open_salient_blocks(blocks, RuleTagger(), tmp_path).digest == first.digest
    assert blocks.taken == len(TEXTS)
    other = open_salient_blocks(blocks, RuleTagger(frozenset(["ada"])), tmp_path)
    assert blocks.taken == 2 * len(TEXTS)
    assert other.digest != first.digest
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_store_is_made_anew(tmp_path: Path) -> None:
    blocks = Blocks(TEXTS)
    folder = open_salient_blocks(blocks, RuleTagger(), tmp_path).folder
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, data in whole.items():
        (folder / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(CorruptFileError, match="Delete the folder"):
            SalientBlocks(folder)
        open_salient_blocks(blocks, RuleTagger(), tmp_path)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    entry = json.loads(whole["salient.json"]) | {"format": 99}
    (folder / "salient.json").write_text(json.dumps(entry))
    with pytest.raises(CorruptFileError, match="another format"):
        SalientBlocks(folder)


def test_tagging_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    class Broken(RuleTagger):
        def spans(self, texts: Sequence[str]) -> list[list[SalientSpan]]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_salient_blocks(Blocks(TEXTS), Broken(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_row_that_is_not_there_and_cache_that_cannot_be_written_are_errors(tmp_path: Path) -> None:
    found = open_salient_blocks(Blocks(TEXTS), RuleTagger(), tmp_path)
    for row in (-1, len(TEXTS)):
        with pytest.raises(IndexError, match="there are 4"):
            found.sentences(row)
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="Give another cache"):
        open_salient_blocks(Blocks(TEXTS), RuleTagger(), tmp_path / "file")
