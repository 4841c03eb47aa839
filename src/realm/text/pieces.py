"""Plain text to word pieces with the characters each piece came from; no special tokens, no truncation.

This is what documents are cut with and what the block store caches. A literal "[SEP]" in a text is text here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer


class Pieces(NamedTuple):
    """Word pieces of one text.

    Attributes:
        ids: Vocabulary id of each piece.
        offsets: Half-open character range of each piece in the text.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


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

    @classmethod
    def from_folder(cls, folder: Path) -> PieceTokenizer:
        """Read `tokenizer.json` of a model folder."""
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")))

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
