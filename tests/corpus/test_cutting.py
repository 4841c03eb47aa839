"""Long documents are cut in windows: in the same places as in one go, in a small multiple of the text's memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_chunking import slow_blocks

from realm.corpus import cutting
from realm.corpus.chunking import chunk_documents
from realm.records import Document
from realm.text.pieces import PieceTokenizer
from realm.text.sentences import sentence_spans

# Whatever is looked at to tell where a sentence ends, and words that reach just as far as that goes.
WORDS = "Dr U.S e.g No pp Inc etc J 12 xii the The said river \"'“«(Tolkien Nevertheless x".split()
SIGNS = [". ", "! ", "? ", "… ", "...", ".\n", "\n", "\n\n", " ", "  ", "\t", "\u2028", "\u00a0", "\u001c"]
RARE = ['." ', ".) ", ".[12] ", ".’” ", "“‘«(", "«", "w" * 24, "W" * 25, "東", "İ", "\u0301", "."]
PARTS = st.sampled_from([*WORDS, *SIGNS, " ", " ", *RARE])
TEXTS = st.lists(PARTS, max_size=120).map("".join)


@given(
    text=TEXTS, is_lower=st.booleans(), ending=st.sampled_from(["", " X", "\nX", " 1"]), characters=st.integers(1, 90)
)
@settings(max_examples=300)
def test_sentences_of_windows_are_those_of_the_whole_text(
    text: str, is_lower: bool, ending: str, characters: int
) -> None:
    text = (text.lower() if is_lower else text) + ending
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "_CHARACTERS_AHEAD", 28)
        patch.setattr(cutting, "_WINDOW_CHARACTERS", characters)
        windows = list(cutting._windows(text))
    assert [span for spans in windows for span in spans] == sentence_spans(text)
    for spans in windows:
        assert len(spans) == 1 or spans[-1][1] - spans[0][0] <= characters


@given(
    texts=st.lists(TEXTS, min_size=1, max_size=3),
    title=st.sampled_from(["", "The river"]),
    max_pieces=st.integers(16, 40),
    characters=st.integers(1, 90),
)
@settings(max_examples=100)
def test_blocks_of_windows_are_those_of_one_go(
    small_pieces: PieceTokenizer, texts: list[str], title: str, max_pieces: int, characters: int
) -> None:
    documents = [Document(str(place), title, text) for place, text in enumerate(texts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "_CHARACTERS_AHEAD", 28)
        patch.setattr(cutting, "_WINDOW_CHARACTERS", characters)
        patch.setattr(cutting, "_WORDS_AT_ONCE", 2)
        in_windows = list(chunk_documents(documents, small_pieces, max_pieces=max_pieces))
    assert in_windows == list(chunk_documents(documents, small_pieces, max_pieces=max_pieces))
    for chunked in in_windows:
        found = [(block.start, block.end, list(block.token_ids)) for block in chunked.blocks]
        assert found == slow_blocks(chunked.document, small_pieces, max_pieces)


@pytest.mark.parametrize("words", [10, 100_000])
def test_a_sentence_longer_than_a_window_is_cut_as_any_other(small_pieces: PieceTokenizer, words: int) -> None:
    sentence = "the river \u200b " * words  # a sign of no pieces: a long text may have few
    for text in (sentence, f"The sea. {sentence}. The river flows.", "\u200b " * 300_000 + "the sea"):
        (chunked,) = chunk_documents([Document("d", "", text)], small_pieces, max_pieces=24)
        found = [(block.start, block.end, list(block.token_ids)) for block in chunked.blocks]
        assert found == one_go(text, small_pieces)


def one_go(text: str, pieces: PieceTokenizer) -> list[tuple[int, int, list[int]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "_WINDOW_CHARACTERS", len(text))
        (chunked,) = chunk_documents([Document("d", "", text)], pieces, max_pieces=24)
    return [(block.start, block.end, list(block.token_ids)) for block in chunked.blocks]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lines", "prose", "one sentence"])
def test_memory_of_a_large_document_is_a_small_multiple_of_its_text(kind: str, small_pieces: PieceTokenizer) -> None:
    program = Path(__file__).with_name("chunk_in_bounded_memory.py")
    run = subprocess.run([sys.executable, str(program), kind], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["blocks"] > 1000
    # In one go it was 150 MB for each MB of short lines, and 35 MB of prose.
    assert found["grown_mb"] < 8 * found["text_mb"], found
