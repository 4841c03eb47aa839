"""RealmRetriever on disk and its rows, against the tokenizer's own pairs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import stories

from realm.errors import SourceError, UnsafeFileError
from realm.openqa.retriever import RealmRetriever
from realm.text.tokenization import RealmTokenizerFast

TEXTS = [document.text for document in stories(4)]


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return RealmTokenizerFast.from_pretrained(tiny_folder)


@pytest.mark.parametrize("records", [[text.encode() for text in TEXTS], TEXTS, np.array(TEXTS[:1], dtype=object)])
def test_a_retriever_comes_back_as_it_was_saved(tmp_path: Path, tokenizer: Any, records: Any) -> None:
    retriever = RealmRetriever(records, tokenizer)
    retriever.save_pretrained(tmp_path / "saved")
    again = RealmRetriever.from_pretrained(tmp_path / "saved")
    assert list(again.block_records) == [text.encode() for text in TEXTS[: len(records)]]
    question = tokenizer("who wrote it?")["input_ids"]
    numbers = list(range(len(records)))
    first, second = (one(numbers, [question], [[5]], max_length=300) for one in (retriever, again))
    assert first[:3] == second[:3]
    for key, rows in first.concat_inputs.items():
        assert rows.tolist() == second.concat_inputs[key].tolist()


def test_numpy_reads_what_a_retriever_saves_as_its_bytes(tmp_path: Path, tokenizer: Any) -> None:
    RealmRetriever([text.encode() for text in TEXTS], tokenizer).save_pretrained(tmp_path)
    with (tmp_path / "block_records.npy").open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        found = pickle.load(file)
    assert found.dtype == object
    assert found.tolist() == [text.encode() for text in TEXTS]


class Hostile:
    """What a pickle can carry."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def test_a_file_that_asks_for_code_is_refused_and_nothing_of_it_is_run(tmp_path: Path, tokenizer: Any) -> None:
    RealmRetriever([b"text"], tokenizer).save_pretrained(tmp_path)
    marker = tmp_path / "it ran"
    np.save(tmp_path / "block_records.npy", np.array([b"text", Hostile(marker)], dtype=object))
    with pytest.raises(UnsafeFileError, match="pathlib"):
        RealmRetriever.from_pretrained(tmp_path)
    assert not marker.exists()


def test_a_folder_without_block_records_is_named(tmp_path: Path, tiny_folder: Path) -> None:
    with pytest.raises(SourceError, match=r"No block_records\.npy in .*tiny"):
        RealmRetriever.from_pretrained(tiny_folder)


def test_rows_are_the_pairs_the_tokenizer_makes(tokenizer: Any) -> None:
    retriever = RealmRetriever([text.encode() for text in TEXTS], tokenizer)
    question = "Which river crossed Zürich?"
    rows = retriever([2, 0, 1], tokenizer(question, return_tensors="pt")["input_ids"], None, max_length=200)
    pairs = tokenizer(
        [question] * 3, [TEXTS[2], TEXTS[0], TEXTS[1]], truncation="only_second", max_length=200, padding=True,
        return_special_tokens_mask=True,
    )  # fmt: skip
    for key in ("input_ids", "token_type_ids", "attention_mask", "special_tokens_mask"):
        assert rows.concat_inputs[key].tolist() == pairs[key]
    assert rows[:3] == (None, None, None)


def test_a_block_that_does_not_exist_is_an_index_error(tokenizer: Any) -> None:
    retriever = RealmRetriever([b"one", b"two"], tokenizer)
    question = tokenizer("who?", return_tensors="pt")["input_ids"]
    for number in (2, -1):
        with pytest.raises(IndexError, match=f"block {number} was asked for; there are 2"):
            retriever([0, number], question, None)


def test_blocks_are_tokenised_once(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = RealmRetriever([text.encode() for text in TEXTS], tokenizer)
    question = tokenizer("who?", return_tensors="pt")["input_ids"]
    first = retriever([0, 1, 1], question, None, max_length=100)
    monkeypatch.setattr(retriever, "block_text", lambda number: pytest.fail(f"block {number} was read again"))
    again = retriever([0, 1, 1], question, None, max_length=100)
    assert again.concat_inputs["input_ids"].tolist() == first.concat_inputs["input_ids"].tolist()


def test_the_cache_of_pieces_stays_small(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realm.openqa.retriever._MOST_CACHED_BLOCKS", 2)
    retriever = RealmRetriever([text.encode() for text in TEXTS], tokenizer)
    fresh = RealmRetriever([text.encode() for text in TEXTS], tokenizer)
    monkeypatch.setattr(fresh, "_cached", {})
    for numbers in ([0], [1], [2, 1], [3, 0, 1]):
        found = [pieces.tolist() for pieces in retriever.bodies(numbers, 400)]
        assert found == [tokenizer(TEXTS[n], add_special_tokens=False)["input_ids"][:400] for n in numbers]
    assert len(retriever._cached) <= 3
