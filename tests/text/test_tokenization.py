"""The tokenizers beyond what the goldens fix: offsets, candidates, files, words kept whole.

That they agree with transformers 4.37.2 is tested in tests/parity/test_tokenizers_parity.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import ModelError, UsageError
from realm.text.tokenization import RealmTokenizer, RealmTokenizerFast

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "old",
    "cat",
    "##s",
    "don",
    "'",
    "t",
    "don't",
    ".",
    "Cat",
]
CLASSES = [RealmTokenizer, RealmTokenizerFast]
both = pytest.mark.parametrize("cls", CLASSES)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "pieces.txt"
    path.write_text("".join(f"{piece}\n" for piece in PIECES), encoding="utf-8")
    return path


@both
def test_offsets_name_the_characters_each_piece_came_from(cls: Any, vocabulary: Path) -> None:
    text = "The CATS  don't."
    encoded = cls(vocabulary)(text, return_offsets_mapping=True, add_special_tokens=False)
    quoted = [text[start:end] for start, end in encoded["offset_mapping"]]
    assert quoted == ["The", "CAT", "S", "don", "'", "t", "."]


@both
@given(texts=st.lists(st.text(alphabet="thecaoldsn'. [SEP]\u00e9\u4e2d", max_size=20), min_size=1, max_size=4))
def test_candidates_are_what_the_texts_give_one_by_one(cls: Any, texts: list[str]) -> None:
    tokenizer = shared(cls)
    together = tokenizer.batch_encode_candidates([texts, texts[::-1]], max_length=12, truncation=True)
    for row, given_texts in zip(together["input_ids"], [texts, texts[::-1]], strict=True):
        for ids, text in zip(row, given_texts, strict=True):
            assert ids == tokenizer(text, padding="max_length", max_length=12, truncation=True).input_ids


@both
def test_candidates_without_any_maximum_length_are_refused(cls: Any, vocabulary: Path) -> None:
    with pytest.raises(UsageError, match="Pass max_length"):
        cls(vocabulary).batch_encode_candidates([["the cat"]])
    bounded = cls(vocabulary, model_max_length=9)
    assert len(bounded.batch_encode_candidates([["the cat"]])["input_ids"][0][0]) == 9


@both
def test_saved_files_do_not_depend_on_the_last_call(cls: Any, vocabulary: Path, tmp_path: Path) -> None:
    tokenizer = cls(vocabulary)
    tokenizer.save_pretrained(tmp_path / "before")
    tokenizer(["the cat", "cat"], padding=True, truncation=True, max_length=3)
    tokenizer.save_pretrained(tmp_path / "after")
    names = sorted(path.name for path in (tmp_path / "before").iterdir())
    assert names == ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    for name in names:
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes()


@both
def test_a_saved_folder_gives_the_same_ids_options_and_added_pieces(cls: Any, vocabulary: Path, tmp_path: Path) -> None:
    tokenizer = cls(vocabulary, do_lower_case=False, model_max_length=77)
    tokenizer.add_tokens(["zebra"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["[X]"]})
    tokenizer.save_pretrained(tmp_path / "saved")
    found = cls.from_pretrained(tmp_path / "saved")
    for text in ("the Cat sat, [X] zebra", "[SEP] CAT cats"):
        assert found(text).input_ids == tokenizer(text).input_ids
    assert (found.do_lower_case, found.model_max_length, len(found)) == (False, 77, len(PIECES) + 2)


@both
def test_a_piece_that_stands_twice_in_the_vocabulary_moves_no_id_when_saved(cls: Any, tmp_path: Path) -> None:
    path = tmp_path / "twice.txt"
    path.write_text("\n".join([*PIECES[:5], "cat", "the", "cat", "old"]) + "\n", encoding="utf-8")
    tokenizer = cls(path)
    tokenizer.save_pretrained(tmp_path / "saved")
    found = RealmTokenizer.from_pretrained(tmp_path / "saved")
    assert found.get_vocab() == tokenizer.get_vocab()
    assert found.get_vocab()["cat"] == 7


@both
def test_a_folder_with_tokenizer_json_alone_is_enough(cls: Any, vocabulary: Path, tmp_path: Path) -> None:
    tokenizer = cls(vocabulary)
    tokenizer.save_pretrained(tmp_path)
    for name in ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / name).unlink()
    assert cls.from_pretrained(tmp_path)("the cats").input_ids == tokenizer("the cats").input_ids


@both
def test_a_missing_or_binary_vocabulary_is_named(cls: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Can't find a vocabulary file at path '.*nowhere\.txt'"):
        cls(tmp_path / "nowhere.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="not UTF-8"):
        cls(tmp_path / "binary.txt")
    with pytest.raises(ModelError, match=r"Can't find a vocabulary file"):
        cls.from_pretrained(tmp_path)


def test_words_never_split_stay_whole_between_white_space_only(vocabulary: Path) -> None:
    tokenizer = RealmTokenizer(vocabulary, never_split=["don't", "x-y"])
    assert tokenizer.tokenize("don't DON'T") == ["don't", "don't"]
    assert tokenizer.tokenize("don't.") == ["don", "'", "t", "."]
    assert tokenizer("x-y", add_special_tokens=False).input_ids == [PIECES.index("[UNK]")]


def test_without_basic_tokenization_only_white_space_splits(vocabulary: Path, tmp_path: Path) -> None:
    tokenizer = RealmTokenizer(vocabulary, do_basic_tokenize=False)
    assert tokenizer.tokenize("Cat don't cat. THE") == ["Cat", "don't", "[UNK]", "[UNK]"]
    tokenizer.save_pretrained(tmp_path / "saved")
    normalizer = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())["normalizer"]
    assert normalizer is not None


def shared(cls: Any) -> Any:
    """One tokenizer per class, for tests that hypothesis repeats."""
    if cls not in _shared:
        folder = Path(__file__).parents[1] / "parity" / "goldens" / "vocabularies"
        _shared[cls] = cls(folder / "text.txt")
    return _shared[cls]


_shared: dict[Any, Any] = {}
