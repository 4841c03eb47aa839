"""Plain text to word pieces with the characters each piece came from; no special tokens, no truncation.

This is what documents are cut with and what the block store caches. A literal "[SEP]" in a text is text here.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from realm.errors import ModelError
from realm.text.rarity import rarities


class Pieces(NamedTuple):
    """Word pieces of one text.

    Attributes:
        ids: Vocabulary id of each piece.
        offsets: Half-open character range of each piece in the text.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


SPECIAL_PIECES_OF_A_PAIR = 3
"""[CLS] first [SEP] second [SEP]"""


def longest_title(max_pieces: int) -> int:
    """How many word pieces of a title are kept in a block input of at most `max_pieces`: half of what holds text."""
    return (max_pieces - SPECIAL_PIECES_OF_A_PAIR) // 2


class PieceTokenizer:
    """Cuts texts into word pieces, many at once.

    Args:
        backend: A `tokenizers` WordPiece tokenizer; it is copied, so its own settings stay as they are.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self._tokenizer = Tokenizer.from_str(backend.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        self._splits_at_signs = _splits_at_signs(json.loads(self._tokenizer.to_str()))

    @classmethod
    def from_folder(cls, folder: Path) -> PieceTokenizer:
        """Read `tokenizer.json` of a model folder.

        Raises:
            ModelError: It is missing or damaged.
        """
        path = folder / "tokenizer.json"
        try:
            return cls(Tokenizer.from_file(str(path)))
        except Exception as exc:  # the library has no class of its own for a damaged file
            raise ModelError(f"{path} cannot be read as a tokenizer ({exc}). Give another model folder.") from exc

    @property
    def splits_at_signs(self) -> bool:
        """Whether the pieces of a text are those of its parts before, in and behind every ASCII punctuation sign.

        So it is for BERT's: its normaliser changes characters one by one, or with the accents behind them, and every
        such sign is a token. False where that is not known of a tokenizer.
        """
        return self._splits_at_signs

    @functools.cached_property
    def rarities(self) -> NDArray[np.float32]:
        """How much each piece tells, by id; see `realm.text.rarity`."""
        return rarities(self._tokenizer.get_vocab())

    def encode_batch(self, texts: Sequence[str]) -> list[Pieces]:
        """Word pieces of each text."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [Pieces(encoding.ids, encoding.offsets) for encoding in encodings]

    def ids_of(self, text: str) -> list[int]:
        """Ids of one text."""
        return self.encode_batch([text])[0].ids

    def special_id(self, piece: str) -> int:
        """Id of a special piece such as "[CLS]".

        Raises:
            KeyError: The vocabulary has no such piece.
        """
        found = self._tokenizer.token_to_id(piece)
        if found is None:
            raise KeyError(piece)
        return int(found)


def _splits_at_signs(stored: dict[str, Any]) -> bool:
    """Whether a stored tokenizer is one of BERT's kind, and has no tokens that are looked for in the text as it is."""
    kinds = [(stored[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer")]
    return kinds == ["BertNormalizer", "BertPreTokenizer"] and all(token["special"] for token in stored["added_tokens"])
