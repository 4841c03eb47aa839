"""What RealmTokenizer and RealmTokenizerFast share: input layout, candidates, the files they save.

It does not know how a backend is built (`word_piece_backend`) nor the options of the two (`tokenization`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import processors
from transformers.tokenization_utils_base import LARGE_INTEGER, BatchEncoding
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from realm.errors import UsageError

_CANDIDATE_KEYS = ("input_ids", "attention_mask", "token_type_ids")


class RealmTokenizerBase(TokenizersBackend):
    """What both tokenizers can do once their Rust backend is built."""

    vocab_files_names = {"vocab_file": "vocab.txt", "tokenizer_file": "tokenizer.json"}
    model_input_names = ["input_ids", "token_type_ids", "attention_mask"]

    @classmethod
    def convert_to_native_format(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Hand the files of a model folder to the constructor as they are; it builds the backend itself."""
        kwargs.pop("trust_remote_code", None)
        return kwargs

    def update_post_processor(self) -> None:
        """Lay out inputs as `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`, segment 1 from B on."""
        cls, sep = str(self.cls_token), str(self.sep_token)
        self.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{cls}:0 $A:0 {sep}:0",
            pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
            special_tokens=[(cls, self.cls_token_id), (sep, self.sep_token_id)],
        )

    def batch_encode_candidates(self, text: Sequence[Sequence[str]], **kwargs: Any) -> BatchEncoding:
        """Encode several candidate texts per example, all padded to one length so that they stack.

        Args:
            text: Candidates of each example, (batch, candidates).
            **kwargs: Those of `__call__`. `text_pair` has the shape of `text`; `padding` has no effect.

        Returns:
            input_ids, attention_mask and token_type_ids, (batch, candidates, max_length). Texts longer than
            `max_length` are cut only with `truncation=True`.

        Raises:
            UsageError: No `max_length` is given, and the tokenizer has no `model_max_length` to take instead.
            ValueError: `return_tensors` is given, and counts of candidates or lengths differ.

        Differs: transformers 4.37.2 does not pad at all, with a warning, where this raises UsageError.
        """
        kwargs["padding"] = "max_length"
        pairs = kwargs.pop("text_pair", None)
        tensor_type = kwargs.pop("return_tensors", None)
        if kwargs.get("max_length") is None and self.model_max_length > LARGE_INTEGER:
            raise UsageError(
                "batch_encode_candidates pads to max_length, but none was given and this tokenizer has no "
                "model_max_length. Pass max_length, for example max_length=288."
            )
        columns: dict[str, list[Any]] = {name: [] for name in _CANDIDATE_KEYS}
        for number, candidates in enumerate(text):
            pair = None if pairs is None else pairs[number]
            encoded = self(candidates, pair, return_tensors=None, **kwargs)
            for name in _CANDIDATE_KEYS:
                if name in encoded:
                    columns[name].append(encoded[name])
        return BatchEncoding({name: rows for name, rows in columns.items() if rows}, tensor_type=tensor_type)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """`[CLS] A [SEP]`, or `[CLS] A [SEP] B [SEP]`."""
        first = [self.cls_token_id, *token_ids_0, self.sep_token_id]
        return first if token_ids_1 is None else [*first, *token_ids_1, self.sep_token_id]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Segment of each piece of `build_inputs_with_special_tokens`: 1 for `B [SEP]`, else 0."""
        first = [0] * (len(token_ids_0) + 2)
        return first if token_ids_1 is None else first + [1] * (len(token_ids_1) + 1)

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 for each special piece, 0 for each piece of a text.

        Args:
            token_ids_0: First text, or a whole input if `already_has_special_tokens`.
            token_ids_1: Second text.
            already_has_special_tokens: Whether `token_ids_0` is a whole input already.
        """
        if already_has_special_tokens:
            mask: list[int] = super().get_special_tokens_mask(token_ids_0, token_ids_1, True)
            return mask
        first = [1, *([0] * len(token_ids_0)), 1]
        return first if token_ids_1 is None else [*first, *([0] * len(token_ids_1)), 1]

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Write `vocab.txt`, one piece per line, the line being its id; returns the path.

        A piece that stood twice in the file read has the later id; it is written twice again, so no id moves.
        """
        pieces = {number: piece for piece, number in self.backend_tokenizer.get_vocab(with_added_tokens=False).items()}
        lines: list[str] = []
        for number in sorted(pieces):
            lines += [pieces[number]] * (number + 1 - len(lines))
        path = Path(save_directory, _prefixed("vocab.txt", filename_prefix))
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
        return (str(path),)

    def _save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        file_names: tuple[str, ...],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        """Write `tokenizer.json` without the settings of the last call, and for 4.37.2 the files it reads."""
        self.backend_tokenizer.no_truncation()
        self.backend_tokenizer.no_padding()
        saved: tuple[str, ...] = super()._save_pretrained(save_directory, file_names, legacy_format, filename_prefix)
        if legacy_format is False:
            return saved
        folder, prefix = str(save_directory), filename_prefix
        return saved + self.save_vocabulary(folder, prefix) + (self._save_special_tokens(folder, prefix),)

    def _save_special_tokens(self, save_directory: str, filename_prefix: str | None) -> str:
        names: dict[str, Any] = {name: str(piece) for name, piece in self.special_tokens_map.items()}
        if self.extra_special_tokens:
            names["additional_special_tokens"] = [str(piece) for piece in self.extra_special_tokens]
        path = Path(save_directory, _prefixed("special_tokens_map.json", filename_prefix))
        path.write_text(json.dumps(names, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        return str(path)


def _prefixed(name: str, prefix: str | None) -> str:
    return f"{prefix}-{name}" if prefix else name
