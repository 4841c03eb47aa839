"""RealmTokenizer and RealmTokenizerFast: BERT word pieces with the constructors of transformers 4.37.2.

    text ─► clean, lower, drop accents ─► words, punctuation ─► word pieces ─► [CLS] … [SEP]

Both run on the `tokenizers` library and give offsets; they differ in their options and in decoding. Knows no
networks. Reading order: `word_piece_backend`, `tokenization_base`, this file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedConfig

from realm.text.tokenization_base import RealmTokenizerBase
from realm.text.word_piece_backend import (
    bert_normalizer,
    keep_whole,
    read_backend,
    read_vocabulary,
    word_piece_backend,
)


class RealmTokenizer(RealmTokenizerBase):
    """BERT word pieces with every option of the original slow tokenizer.

    Args:
        vocab_file: One word piece per line; LF or CRLF.
        do_lower_case: Whether to lower-case the text.
        do_basic_tokenize: Whether to clean the text and split it at punctuation, or only at white space.
        never_split: Words, as they stand between white space, that stay one piece (or become `unk_token`).
            Without effect unless `do_basic_tokenize`.
        unk_token: Stands for a word that cannot be built from the vocabulary.
        sep_token: Ends a text.
        pad_token: Fills up a batch.
        cls_token: Begins an input.
        mask_token: Stands for a piece to be predicted.
        tokenize_chinese_chars: Whether each Chinese character is a word.
        strip_accents: Whether accents are dropped; None means as `do_lower_case`.

    Raises:
        ModelError: `vocab_file` is missing or not UTF-8 text.

    Differs: transformers 4.37.2 runs this class in Python. Here, as in its fast class, the upper-case sigma
        never becomes the final form; where both texts of a pair are cut, the longer one keeps the odd piece;
        "" as the second text of a single pair is none. Words of `never_split` are compared without accents.
    """

    def __init__(
        self,
        vocab_file: str | os.PathLike[str] | None,
        do_lower_case: bool = True,
        do_basic_tokenize: bool = True,
        never_split: Iterable[str] | None = None,
        unk_token: str | AddedToken = "[UNK]",
        sep_token: str | AddedToken = "[SEP]",
        pad_token: str | AddedToken = "[PAD]",
        cls_token: str | AddedToken = "[CLS]",
        mask_token: str | AddedToken = "[MASK]",
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.do_lower_case = do_lower_case
        self.do_basic_tokenize = do_basic_tokenize
        self.never_split = None if never_split is None else sorted(set(never_split))
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.strip_accents = strip_accents
        backend = kwargs.pop("tokenizer_object", None)
        tokenizer_file = kwargs.pop("tokenizer_file", None)
        if backend is None:
            vocabulary = read_vocabulary(vocab_file, tokenizer_file, kwargs.get("name_or_path", ""))
            normalizer = bert_normalizer(do_lower_case, tokenize_chinese_chars, strip_accents)
            backend = word_piece_backend(vocabulary, unk_token, normalizer, clean_up=False)
            if not do_basic_tokenize:
                # An empty sequence, not None: 4.37.2 cannot load a tokenizer.json without a normalizer.
                backend.normalizer = normalizers.Sequence([])
                backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
            elif self.never_split:
                keep_whole(backend, self.never_split, vocabulary, normalizer)
        self._tokenizer = backend
        kwargs.setdefault("clean_up_tokenization_spaces", True)
        super().__init__(
            vocab_file=None if vocab_file is None else str(vocab_file),
            do_lower_case=do_lower_case,
            do_basic_tokenize=do_basic_tokenize,
            never_split=self.never_split,
            unk_token=unk_token,
            sep_token=sep_token,
            pad_token=pad_token,
            cls_token=cls_token,
            mask_token=mask_token,
            tokenize_chinese_chars=tokenize_chinese_chars,
            strip_accents=strip_accents,
            **kwargs,
        )


class RealmTokenizerFast(RealmTokenizerBase):
    """BERT word pieces with the options of the original fast tokenizer.

    Args:
        vocab_file: One word piece per line; LF or CRLF. Not read where there is a `tokenizer_file`.
        tokenizer_file: A `tokenizer.json`. The options below win over what it says about the text.
        do_lower_case: Whether to lower-case the text.
        unk_token: Stands for a word that cannot be built from the vocabulary.
        sep_token: Ends a text.
        pad_token: Fills up a batch.
        cls_token: Begins an input.
        mask_token: Stands for a piece to be predicted.
        tokenize_chinese_chars: Whether each Chinese character is a word.
        strip_accents: Whether accents are dropped; None means as `do_lower_case`.

    Raises:
        ModelError: There is neither file, or the vocabulary is not UTF-8 text.
    """

    def __init__(
        self,
        vocab_file: str | os.PathLike[str] | None = None,
        tokenizer_file: str | os.PathLike[str] | None = None,
        do_lower_case: bool = True,
        unk_token: str | AddedToken = "[UNK]",
        sep_token: str | AddedToken = "[SEP]",
        pad_token: str | AddedToken = "[PAD]",
        cls_token: str | AddedToken = "[CLS]",
        mask_token: str | AddedToken = "[MASK]",
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.do_lower_case = do_lower_case
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.strip_accents = strip_accents
        normalizer = bert_normalizer(do_lower_case, tokenize_chinese_chars, strip_accents)
        backend = kwargs.pop("tokenizer_object", None)
        if backend is None and tokenizer_file is not None:
            backend = read_backend(tokenizer_file, normalizer)
        elif backend is None:
            backend = word_piece_backend(
                read_vocabulary(vocab_file, None, kwargs.get("name_or_path", "")),
                unk_token,
                normalizer,
                clean_up=True,
            )
        self._tokenizer = backend
        kwargs.setdefault("clean_up_tokenization_spaces", True)
        super().__init__(
            vocab_file=None if vocab_file is None else str(vocab_file),
            do_lower_case=do_lower_case,
            unk_token=unk_token,
            sep_token=sep_token,
            pad_token=pad_token,
            cls_token=cls_token,
            mask_token=mask_token,
            tokenize_chinese_chars=tokenize_chinese_chars,
            strip_accents=strip_accents,
            **kwargs,
        )


def register_tokenizers(config_class: type[PreTrainedConfig]) -> None:
    """Let `AutoTokenizer` give RealmTokenizerFast for folders whose config is a `config_class`."""
    AutoTokenizer.register(
        config_class,
        slow_tokenizer_class=RealmTokenizer,
        fast_tokenizer_class=RealmTokenizerFast,
        exist_ok=True,
    )
