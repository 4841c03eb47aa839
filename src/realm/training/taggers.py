"""Taggers that need a network: any token-classification model of transformers, and spaCy.

    text ─sentences─> windows that the model can take ─tokens, BIO labels─> characters

Folders on disk only; nothing is fetched. The tagger by rules, which needs neither, is `text.names.RuleTagger`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from realm.artifacts import sha256_of_file, sha256_of_text
from realm.errors import ModelError
from realm.extras import require
from realm.features.inputs import batches_of_like_length
from realm.text.salient import SalientSpan
from realm.text.sentences import sentence_spans

# Kinds of OntoNotes that name nothing in the world.
NO_ENTITIES = frozenset("CARDINAL MONEY ORDINAL PERCENT QUANTITY TIME".split())
_SCHEMES = ("B", "I", "E", "S", "L", "U")
_LONGEST_WINDOW = 512


class _Window(NamedTuple):
    """Tokens of a part of a text: ids, each token's characters in the text, and its word; None for a special token."""

    text: int
    ids: list[int]
    offsets: list[tuple[int, int]]
    words: list[int | None]


class TokenClassificationTagger:
    """Names by a token-classification model in a folder, as transformers saves it.

    Labels are "B-PER", "I-PER" and the like, or "PER" alone; "O" and what stands in `NO_ENTITIES` are no names.
    A word's label is that of its first token.

    Args:
        folder: The model and its tokenizer, which must know its offsets (a "fast" one).
        device: Where it runs.
        max_batch_tokens: The most tokens of a batch, padding included.

    Raises:
        ModelError: There is no such model, or it cannot be used.
    """

    finds_dates = False

    def __init__(self, folder: Path, device: str = "cpu", max_batch_tokens: int = 8192) -> None:
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{folder} has no config.json; expected a token-classification model saved by transformers."
            )
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
            self._model, loaded = AutoModelForTokenClassification.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                use_safetensors=True,
            )
        except (OSError, ValueError, KeyError) as exc:
            line = " ".join(str(exc).split())[:200]
            raise ModelError(f"{folder} cannot be loaded as a token-classification model: {line}") from exc
        missing = sorted(loaded["missing_keys"])
        if missing:
            raise ModelError(
                f"{folder} has no weights for {missing[0]}; expected a trained token-classification model."
            )
        if not self._tokenizer.is_fast:
            raise ModelError(
                f"The tokenizer of {folder} does not know its offsets; expected one with a tokenizer.json."
            )
        self._device, self._max_batch_tokens = torch.device(device), max_batch_tokens
        self._model.to(self._device).eval()
        self._labels: dict[int, str] = {int(key): str(name) for key, name in self._model.config.id2label.items()}
        positions = getattr(self._model.config, "max_position_embeddings", None) or _LONGEST_WINDOW
        self._max_tokens = min(int(self._tokenizer.model_max_length), int(positions), _LONGEST_WINDOW)
        # RoBERTa counts its positions from the padding on.
        if self._model.config.model_type in ("roberta", "xlm-roberta", "camembert"):
            self._max_tokens = min(self._max_tokens, int(positions) - 2)
        files = [folder / "config.json", folder / "tokenizer.json", *sorted(folder.glob("*.safetensors"))]
        self.digest = sha256_of_text(
            "token-classification", *(sha256_of_file(file) for file in files if file.is_file())
        )

    def spans(self, texts: Sequence[str]) -> list[list[SalientSpan]]:
        """Names of each text, in reading order; each text is cut at its sentences, long sentences at tokens."""
        windows = [window for number, text in enumerate(texts) for window in self._windows(number, text)]
        found: list[list[SalientSpan]] = [[] for _ in texts]
        for batch in batches_of_like_length([len(window.ids) for window in windows], self._max_batch_tokens):
            chosen = [windows[number] for number in batch]
            for window, labels in zip(chosen, self._labels_of(chosen), strict=True):
                found[window.text] += self._names(texts[window.text], window, labels)
        return [sorted(spans) for spans in found]

    def _windows(self, number: int, text: str) -> Iterator[_Window]:
        sentences = sentence_spans(text)
        if not sentences:
            return
        encoded = self._tokenizer(
            [text[start:end] for start, end in sentences],
            return_offsets_mapping=True, truncation=True, max_length=self._max_tokens,
            return_overflowing_tokens=True,
        )  # fmt: skip
        sentence_of_window = encoded["overflow_to_sample_mapping"]
        for place, sentence in enumerate(sentence_of_window):
            first = sentences[sentence][0]
            offsets = [(first + start, first + end) for start, end in encoded["offset_mapping"][place]]
            yield _Window(number, encoded["input_ids"][place], offsets, encoded.word_ids(place))

    @torch.inference_mode()
    def _labels_of(self, windows: Sequence[_Window]) -> list[list[str]]:
        longest = max(len(window.ids) for window in windows)
        padding = self._tokenizer.pad_token_id or 0
        ids = torch.full((len(windows), longest), padding, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, window in enumerate(windows):
            ids[row, : len(window.ids)] = torch.tensor(window.ids)
            mask[row, : len(window.ids)] = 1
        scores = self._model(input_ids=ids.to(self._device), attention_mask=mask.to(self._device)).logits
        best = scores.argmax(-1).tolist()
        return [
            [self._labels[label] for label in row[: len(window.ids)]] for row, window in zip(best, windows, strict=True)
        ]

    def _names(self, text: str, window: _Window, labels: Sequence[str]) -> list[SalientSpan]:
        """Names of a window: words in a row with one kind, a "B" or "S" beginning a new one."""
        spans: list[SalientSpan] = []
        goes_on, last_word = False, -1
        for (start, end), word, label in zip(window.offsets, window.words, labels, strict=True):
            while start < end and text[start].isspace():
                start += 1  # byte-level tokenizers count the space in front to the token
            if word is None or start == end:
                continue
            if word == last_word:
                if goes_on:
                    spans[-1] = spans[-1]._replace(end=end)
                continue
            last_word = word
            place, kind = split_label(label)
            if kind is None:
                goes_on = False
            elif goes_on and spans[-1].kind == kind and place not in ("B", "S", "U"):
                spans[-1] = spans[-1]._replace(end=end)
            else:
                spans.append(SalientSpan(start, end, kind))
                goes_on = True
        return spans


def split_label(label: str) -> tuple[str, str | None]:
    """The place in a name and its kind: ("B", "PER") for "B-PER", ("I", "PER") for "PER", ("O", None) for no name."""
    place, dash, kind = label.partition("-")
    if not dash or place not in _SCHEMES:
        place, kind = "I", label
    return ("O", None) if kind in NO_ENTITIES or kind in ("O", "") else (place, kind)


class SpacyTagger:
    """Names by a spaCy pipeline; dates it finds are names too.

    Args:
        model: An installed pipeline such as "en_core_web_sm", or the folder of one.
        batch_texts: How many texts are looked at together.

    Raises:
        MissingExtraError: spaCy is not installed.
        ModelError: There is no such pipeline, or it finds no entities.
    """

    finds_dates = False

    def __init__(self, model: str, batch_texts: int = 64) -> None:
        spacy: Any = require("spacy", "ner")
        try:
            self._pipeline = spacy.load(model, exclude=["lemmatizer", "textcat"])
        except (OSError, ValueError) as exc:
            line = " ".join(str(exc).split())[:200]
            raise ModelError(f"The spaCy pipeline {model!r} cannot be loaded: {line}") from exc
        if not {"ner", "entity_ruler", "span_ruler"} & set(self._pipeline.pipe_names):
            raise ModelError(f"The spaCy pipeline {model!r} finds no entities: it has {self._pipeline.pipe_names}.")
        self._batch_texts = batch_texts
        meta = self._pipeline.meta
        self.digest = sha256_of_text("spacy", spacy.__version__, str(meta.get("name")), str(meta.get("version")))

    def spans(self, texts: Sequence[str]) -> list[list[SalientSpan]]:
        """Names of each text, without numbers, amounts and times of day."""
        parsed: Iterable[Any] = self._pipeline.pipe(texts, batch_size=self._batch_texts)
        return [
            [SalientSpan(e.start_char, e.end_char, e.label_) for e in doc.ents if e.label_ not in NO_ENTITIES]
            for doc in parsed
        ]
