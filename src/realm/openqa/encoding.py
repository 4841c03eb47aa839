"""Texts to vectors, with the method names of sentence-transformers: for programs that bring an index of their own.

The vectors are those that a knowledge base is made of and asked with; relevance is their inner product. Knows no
knowledge base.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from realm.features.inputs import Row
from realm.openqa.ask import MAX_QUESTION_PIECES
from realm.openqa.indexing import MAX_BLOCK_PIECES
from realm.openqa.model_folder import ModelFolder

_SPECIAL_PIECES = 2


class TextEncoder:
    """The embedder of a model, for plain texts. There are no prompts; a fine-tuned model may have a network for each.

    Args:
        model: The model folder.

    Attributes:
        model: As given.
        dim: Numbers in a vector.
        max_query_pieces: Word pieces of a query, special ones included; the rest is cut off.
        max_document_pieces: Word pieces of a document, special ones and title included; the rest is cut off.
    """

    def __init__(self, model: ModelFolder) -> None:
        config = model.networks.config
        self.model = model
        self.dim: int = config.retriever_proj_size
        self.max_query_pieces = min(MAX_QUESTION_PIECES + _SPECIAL_PIECES, config.max_position_embeddings)
        self.max_document_pieces = min(MAX_BLOCK_PIECES, config.max_position_embeddings)

    @classmethod
    def load(cls, name: str | None = None) -> TextEncoder:
        """Open a model by name or path; the built-in one if None. Raises like `ModelFolder.open`."""
        return cls(ModelFolder.open(name))

    def encode_query(
        self, sentences: str | Sequence[str], *, batch_size: int = 32, normalize_embeddings: bool = False
    ) -> NDArray[np.float32]:
        """Vectors of questions.

        Args:
            sentences: One text or several.
            batch_size: At most so many texts are computed together.
            normalize_embeddings: Scale vectors to length 1. The model was trained without.

        Returns:
            (dim,) for one text, (texts, dim) for several.

        Raises:
            ValueError: `batch_size` is less than 1.
        """
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        rows = [
            self.model.inputs.question(pieces.ids, self.max_query_pieces)
            for pieces in self.model.tokenizer.encode_batch(texts)
        ]
        vectors = self._vectors(rows, batch_size, normalize_embeddings, questions=True)
        return vectors[0] if isinstance(sentences, str) else vectors

    def encode_document(
        self,
        sentences: str | Sequence[str],
        *,
        titles: str | Sequence[str] | None = None,
        batch_size: int = 32,
        normalize_embeddings: bool = False,
    ) -> NDArray[np.float32]:
        """Vectors of passages; see `encode_query`.

        Args:
            sentences: One text or several.
            titles: The title of each; passages of a knowledge base are embedded with theirs.
            batch_size: At most so many texts are computed together.
            normalize_embeddings: Scale vectors to length 1.

        Raises:
            ValueError: `batch_size` is less than 1; or there are not as many titles as texts.
        """
        texts, names = ([part] if isinstance(part, str) else list(part or ()) for part in (sentences, titles))
        encode = self.model.tokenizer.encode_batch
        rows = [
            self.model.inputs.block(title.ids, pieces.ids, self.max_document_pieces)
            for title, pieces in zip(
                encode(names if titles is not None else [""] * len(texts)), encode(texts), strict=True
            )
        ]
        vectors = self._vectors(rows, batch_size, normalize_embeddings)
        return vectors[0] if isinstance(sentences, str) else vectors

    def _vectors(
        self, rows: Sequence[Row], batch_size: int, is_normal: bool, *, questions: bool = False
    ) -> NDArray[np.float32]:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; found {batch_size}.")
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        # Texts of like length together, so that little is padding.
        order = sorted(range(len(rows)), key=lambda number: len(rows[number].ids))
        for start in range(0, len(rows), batch_size):
            numbers = order[start : start + batch_size]
            vectors[numbers] = self.model.embed([rows[number] for number in numbers], questions=questions)
        if is_normal:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors /= np.maximum(lengths, np.finfo(np.float32).tiny)
        return vectors
