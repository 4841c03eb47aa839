"""Blocks cut from documents: nothing lost, nothing too long, pieces exactly those of the text."""

from __future__ import annotations

import multiprocessing
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_chunking import slow_blocks

from realm.corpus import chunking
from realm.corpus.chunking import ChunkedDocument, chunk_documents, document_hash
from realm.records import Document
from realm.text.pieces import PieceTokenizer
from realm.text.sentences import sentence_spans

SIGNS = [
    "\n",
    "\t",
    "\u00a0",
    "\u2028",
    "\u200b",
    "\u001c",
    "\u0085",
    "\u000c",
    "\u0301",
    "東",
    "京",
    "é",
    "İ",
    "ß",
    "ﬁ",
    "\0",
    "👩\u200d🚀",
    "שלום עולם.",
    "مرحبا",
    "e\u0301\u0323",
    "\ufeff",
    "\u3000",
]
WORDS = st.sampled_from(
    ["The", "river", "flows", "to", "sea", ".", "! ", "U.S.", "don't", "[SEP]", "3.14", "x" * 40, "ab" * 70]
)
TEXTS = st.lists(WORDS | st.sampled_from(SIGNS) | st.text(max_size=4), max_size=40).flatmap(
    lambda parts: st.sampled_from(["", " "]).map(lambda gap: gap.join(parts))
)


def chunk(document: Document, pieces: PieceTokenizer, max_pieces: int = 288) -> ChunkedDocument:
    (chunked,) = chunk_documents([document], pieces, max_pieces=max_pieces)
    return chunked


@settings(max_examples=35)
@given(text=TEXTS, title=TEXTS, max_pieces=st.integers(16, 40))
@pytest.mark.parametrize("name", ["small_pieces", "real_pieces"])
def test_blocks_rebuild_the_document_and_fit_and_hold_the_pieces_of_their_text(
    name: str, request: pytest.FixtureRequest, text: str, title: str, max_pieces: int
) -> None:
    pieces: PieceTokenizer = request.getfixturevalue(name)
    chunked = chunk(Document("d", title, text), pieces, max_pieces)
    end = 0
    for block in chunked.blocks:
        assert block.text == text[block.start : block.end]
        assert block.text.strip() != ""
        assert text[end : block.start].strip() == ""
        end = block.end
        assert list(block.token_ids) == pieces.encode_batch([block.text])[0][0]
        assert 3 + len(chunked.title_ids) + len(block.token_ids) <= max_pieces
    assert text[end:].strip() == ""
    title_ids = pieces.encode_batch([title])[0][0]
    assert list(chunked.title_ids) == title_ids[: (max_pieces - 3) // 2]


@settings(max_examples=60)
@given(texts=st.lists(TEXTS, min_size=1, max_size=3), title=TEXTS, max_pieces=st.integers(16, 40))
def test_blocks_are_those_of_the_slow_way(
    small_pieces: PieceTokenizer, texts: list[str], title: str, max_pieces: int
) -> None:
    documents = [Document(str(place), title, text) for place, text in enumerate(texts)]
    for chunked in chunk_documents(documents, small_pieces, max_pieces=max_pieces):
        found = [(block.start, block.end, list(block.token_ids)) for block in chunked.blocks]
        assert found == slow_blocks(chunked.document, small_pieces, max_pieces)


@given(text=TEXTS, max_pieces=st.integers(16, 40), place=st.integers(0, 10_000), characters=st.integers(1, 12))
@settings(max_examples=40)
def test_answer_lies_in_a_block_or_in_neighbouring_ones(
    small_pieces: PieceTokenizer, text: str, max_pieces: int, place: int, characters: int
) -> None:
    start = min(place, max(0, len(text) - 1))
    answer = text[start : start + characters]
    if answer != answer.strip() or not answer:
        return
    blocks = chunk(Document("d", "", text), small_pieces, max_pieces).blocks
    holding = [number for number, block in enumerate(blocks) if block.start < start + len(answer) and start < block.end]
    assert blocks[holding[0]].start <= start
    assert start + len(answer) <= blocks[holding[-1]].end
    # Every block that is not the last one of its word or sentence is full, so a short answer touches few of them.
    found = "".join(text[max(start, blocks[n].start) : min(start + len(answer), blocks[n].end)] for n in holding)
    assert "".join(found.split()) == "".join(answer.split())
    if len(answer) <= 2:
        assert len(holding) <= 2


@settings(max_examples=30)
@given(text=TEXTS, max_pieces=st.integers(16, 60))
def test_blocks_are_packed_greedily_with_whole_sentences(
    small_pieces: PieceTokenizer, text: str, max_pieces: int
) -> None:
    blocks = chunk(Document("d", "", text), small_pieces, max_pieces).blocks
    budget = max_pieces - 3
    spans = sentence_spans(text)
    counts = {span: len(small_pieces.encode_batch([text[slice(*span)]])[0][0]) for span in spans}
    for sentence in spans:
        holding = [block for block in blocks if block.start < sentence[1] and sentence[0] < block.end]
        if counts[sentence] <= budget:
            assert len(holding) == 1
        else:
            assert len(holding) > 1
            assert holding[0].start == sentence[0]
    for block, following in pairwise(blocks):
        # A border between sentences is there because the next sentence would have been too much.
        sentence = next((span for span in spans if span[0] == following.start), None)
        if sentence:
            assert len(block.token_ids) + counts[sentence] > budget


def test_sentences_fill_a_block_to_the_last_piece(small_pieces: PieceTokenizer) -> None:
    # "the river flows ." is four pieces; with three special ones and one of the title, three fit 16.
    text = "The river flows. The river flows.\nThe river flows. The river flows."
    blocks = chunk(Document("d", "sea", text), small_pieces, 16).blocks
    assert [block.text for block in blocks] == [
        "The river flows. The river flows.\nThe river flows.",
        "The river flows.",
    ]
    assert [len(block.token_ids) for block in blocks] == [12, 4]
    assert (blocks[0].title, blocks[0].document_id) == ("sea", "d")


def test_long_sentence_is_cut_between_words_and_its_rest_shares_a_block(
    small_pieces: PieceTokenizer,
) -> None:
    text = "To the sea. " + "The river " * 10 + "flows. In the sea."
    blocks = chunk(Document("d", "", text), small_pieces, 16).blocks
    assert [block.text for block in blocks] == [
        "To the sea.",
        "The river " * 6 + "The",
        "river The " * 3 + "river flows. In the sea.",
    ]


def test_monstrous_word_is_cut_between_characters(small_pieces: PieceTokenizer) -> None:
    text = "the " + "ab.東é" * 40 + " sea"
    blocks = chunk(Document("d", "", text), small_pieces, 16).blocks
    assert "".join(block.text for block in blocks).replace(" ", "") == text.replace(" ", "")
    assert all(len(block.token_ids) == 13 for block in blocks[1:-1])
    assert blocks[-1].text.endswith(" sea")


def test_spelled_out_special_tokens_are_text(pieces: PieceTokenizer) -> None:
    (block,) = chunk(Document("d", "[CLS]", "the [SEP] sea [MASK]"), pieces).blocks
    (plain,) = chunk(Document("d", "", "the [ SEP ] sea [ MASK ]"), pieces).blocks
    assert block.token_ids == plain.token_ids


def test_title_takes_at_most_half_of_the_room(small_pieces: PieceTokenizer) -> None:
    chunked = chunk(Document("d", "sea " * 50, "The river flows. " * 10), small_pieces, 19)
    assert len(chunked.title_ids) == 8
    assert [len(block.token_ids) for block in chunked.blocks] == [8] * 5


def test_document_of_white_space_has_no_blocks(small_pieces: PieceTokenizer) -> None:
    assert chunk(Document("d", "title", " \n"), small_pieces).blocks == ()


@given(st.lists(TEXTS, max_size=6), st.integers(1, 7))
@settings(max_examples=20)
def test_documents_are_cut_alike_alone_and_in_any_batch(
    small_pieces: PieceTokenizer, texts: list[str], batch_documents: int
) -> None:
    documents = [Document(str(place), "the sea", text) for place, text in enumerate(texts)]
    together = list(chunk_documents(documents, small_pieces, max_pieces=20, batch_documents=batch_documents))
    assert together == [chunk(document, small_pieces, 20) for document in documents]


def test_documents_are_read_no_further_than_asked(small_pieces: PieceTokenizer) -> None:
    read = []

    def documents() -> object:
        for number in range(100):
            read.append(number)
            yield Document(str(number), "", "The sea.")

    next(chunk_documents(documents(), small_pieces, batch_documents=4))  # type: ignore[arg-type]
    assert len(read) == 4


def test_block_ids_tell_documents_contents_and_places_apart(small_pieces: PieceTokenizer) -> None:
    document = Document("d", "", "The river flows. " * 8)
    others = [
        replace(document, id="e"),
        replace(document, title="sea"),
        replace(document, metadata={"a": "b"}),
    ]
    ids = [block.id for other in (document, *others) for block in chunk(other, small_pieces, 16).blocks]
    assert len(set(ids)) == len(ids) == 12
    assert chunk(replace(document, source="elsewhere"), small_pieces, 16).blocks[0].id == ids[0]


def test_document_hash_changes_with_what_a_document_says_and_nothing_else() -> None:
    document = Document("d", "title", "text", "here", {"a": "1", "b": "2"})
    same = [
        replace(document, id="e"),
        replace(document, source="x"),
        replace(document, metadata={"b": "2", "a": "1"}),
    ]
    changed = [
        replace(document, title="titlet", text="ext"),
        replace(document, text="other"),
        replace(document, metadata={"a": "1", "b": "3"}),
        replace(document, metadata={"a": "1b", "2": ""}),
    ]
    assert {document_hash(other) for other in same} == {document_hash(document)}
    assert len({document_hash(other) for other in [document, *changed]}) == 5


def test_room_below_sixteen_pieces_is_refused(small_pieces: PieceTokenizer) -> None:
    with pytest.raises(ValueError, match="max_pieces is 15"):
        next(chunk_documents([], small_pieces, max_pieces=15))


def corpus(count: int, seed: int = 0) -> list[Document]:
    """Documents of a few hundred characters, many of their words new."""
    generator = random.Random(seed)
    words = ["the", "river", "flows", "Sea.", "don't", "東京", "x" * 40]
    texts = [
        " ".join(f"{generator.choice(words)}{generator.choice(['', '.', ' ', str(number)])}" for _ in range(50))
        for number in range(count)
    ]
    return [Document(str(number), f"river {number}", text) for number, text in enumerate(texts)]


def test_several_processes_cut_the_same_blocks_in_the_same_order(
    small_pieces: PieceTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "_CHARACTERS_BEFORE_PROCESSES", 1000)
    documents = corpus(200)
    alone = list(chunk_documents(documents, small_pieces, max_pieces=24, batch_documents=7))
    together = chunk_documents(documents, small_pieces, max_pieces=24, batch_documents=7, processes=2)
    assert list(together) == alone
    assert multiprocessing.active_children() == []


def test_small_input_starts_no_process(small_pieces: PieceTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("started")

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", refuse)
    documents = corpus(30)
    assert [cut.document for cut in chunk_documents(documents, small_pieces, processes=4)] == documents
    monkeypatch.setattr(chunking, "_CHARACTERS_BEFORE_PROCESSES", sum(len(each.text) for each in documents))
    assert [cut.document for cut in chunk_documents(documents, small_pieces, processes=4)] == documents


def test_less_than_one_process_is_refused(small_pieces: PieceTokenizer) -> None:
    with pytest.raises(ValueError, match="processes is 0"):
        next(chunk_documents([], small_pieces, processes=0))
