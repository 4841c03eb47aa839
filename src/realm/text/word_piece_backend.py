"""Rust tokenizers for BERT word pieces: from a vocabulary, from a `tokenizer.json`, with words kept whole.

It knows the `tokenizers` library only, none of transformers.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordPiece

from realm.errors import ModelError

_PUNCTUATION = r"[!-/:-@\[-`{-~]|\p{P}"
_IN_NO_VOCABULARY = "\U0010ffff"


def read_vocabulary(
    vocab_file: str | os.PathLike[str] | None,
    tokenizer_file: str | os.PathLike[str] | None,
    folder: str,
) -> dict[str, int]:
    """Id of each piece, from `vocab.txt`, or from `tokenizer.json` where there is no `vocab.txt`.

    Args:
        vocab_file: One piece per line.
        tokenizer_file: Read if there is no `vocab_file`.
        folder: Named in the message if there is neither.

    Raises:
        ModelError: There is no file, or it is not text.
    """
    if vocab_file is None and tokenizer_file is not None:
        return dict(Tokenizer.from_file(str(tokenizer_file)).get_vocab(with_added_tokens=False))
    if vocab_file is None or not os.path.isfile(vocab_file):
        place = vocab_file or os.path.join(folder, "vocab.txt")
        raise ModelError(
            f"Can't find a vocabulary file at path '{place}'. It should hold one word piece per line; "
            "a whole model folder is loaded with from_pretrained(FOLDER)."
        )
    try:
        # Text mode takes CRLF, as in the released orqa folders, for LF.
        with open(vocab_file, encoding="utf-8") as file:
            return {piece.rstrip("\n"): number for number, piece in enumerate(file)}
    except UnicodeDecodeError as exc:
        raise ModelError(f"The vocabulary file '{vocab_file}' is not UTF-8 text: {exc}.") from exc


def bert_normalizer(
    do_lower_case: bool, tokenize_chinese_chars: bool, strip_accents: bool | None
) -> normalizers.Normalizer:
    """Cleaning, spaces around Chinese characters, accents and case, as BERT does them."""
    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=tokenize_chinese_chars,
        strip_accents=strip_accents,
        lowercase=do_lower_case,
    )


def word_piece_backend(
    vocabulary: dict[str, int],
    unk_token: str | AddedToken,
    normalizer: normalizers.Normalizer,
    clean_up: bool,
) -> Tokenizer:
    """A backend without special tokens; the base class adds them and asks for the layout of inputs."""
    backend = Tokenizer(WordPiece(vocabulary, unk_token=str(unk_token), max_input_chars_per_word=100))
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=clean_up)
    return backend


def read_backend(path: str | os.PathLike[str], normalizer: normalizers.Normalizer) -> Tokenizer:
    """The backend of a `tokenizer.json`, with this normalizer where it has one of the same kind."""
    backend = Tokenizer.from_file(str(path))
    backend.no_truncation()
    backend.no_padding()
    found = backend.normalizer
    if found is not None and json.loads(found.__getstate__()).get("type") == "BertNormalizer":
        backend.normalizer = normalizer
    return backend


def keep_whole(
    backend: Tokenizer, words: Sequence[str], vocabulary: dict[str, int], normalizer: normalizers.Normalizer
) -> None:
    """Keep each of `words` in one piece where it stands between white space; unknown ones become unk."""
    whole = "|".join(re.escape(word) for word in words)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(rf"\A(?:{whole})\z|{_PUNCTUATION}"), "isolated"),
        ]
    )
    unknown = "|".join(re.escape(word) for word in words if word not in vocabulary)
    if unknown:
        replaced = normalizers.Replace(Regex(rf"(?<!\S)(?:{unknown})(?!\S)"), _IN_NO_VOCABULARY)
        backend.normalizer = normalizers.Sequence([normalizer, replaced])
