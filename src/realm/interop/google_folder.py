"""What Google released of REALM and ORQA, put into one folder, in any arrangement.

    model.ckpt-300000.index, .data-*     a fine-tuned model: embedder and reader        (orqa_nq_model_from_realm)
    encoded.ckpt.index, .data-*          block_emb, one row per block                   (cc_news_pretrained/embedder)
    blocks.tfr, titles.tfr               block texts and their titles                   (enwiki-20181220)
    vocab.txt                            word pieces                                    (assets of a module)
    bert_config.json                     only needed where a head has not 64 dimensions

Knows no knowledge base and no TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray

from realm.errors import ModelError, SourceError
from realm.interop.google_checkpoint import read_weight
from realm.interop.google_names import find_row
from realm.interop.google_plan import ImportPlan, plan_google_checkpoint
from realm.interop.release import (
    TITLES_FILE,
    is_model_weight,
    require_block_emb,
    tensor_stream,
    write_model_files,
)
from realm.interop.tensorflow_bundle import TensorBundle
from realm.interop.tfrecord import iterate_tfrecord
from realm.models.checkpoints import refusing
from realm.models.configuration import RealmConfig
from realm.text.tokenization import RealmTokenizerFast

BLOCK_EMB: Final = "block_emb"
_BLOCKS_FILE: Final = "blocks.tfr"
_VOCABULARY_FILE: Final = "vocab.txt"
_HEADS_FILE: Final = "bert_config.json"
_HEAD_WIDTH: Final = 64


@dataclass(frozen=True)
class GoogleFolder:
    """A fine-tuned model of the release with its block vectors and texts; a `Release`.

    Attributes:
        folder: Where all of it is.
        config: Sizes, as its variables have them.
        tokenizer: Word pieces.
        model: The checkpoint of embedder and reader.
        plan: Which of its variables are which weights.
        vectors: The checkpoint of the block vectors.
        records_path: The file of block texts.
        titles_path: The file of their titles; None if it is not there.
    """

    folder: Path
    config: RealmConfig
    tokenizer: RealmTokenizerFast
    model: TensorBundle
    plan: ImportPlan
    vectors: TensorBundle
    records_path: Path
    titles_path: Path | None

    @classmethod
    def open(cls, folder: Path, checkpoint: Path | None = None) -> Self:
        """Find all parts below a folder, without reading what is large.

        Args:
            folder: Holds all of them; how deep does not matter.
            checkpoint: The model, where there are several.

        Raises:
            SourceError: A part is missing, damaged, or there more than once.
            ModelError: The parts do not belong together.
        """
        if not folder.is_dir():
            raise SourceError(
                f"No folder {folder}: expected one with a fine-tuned checkpoint, encoded.ckpt, {_BLOCKS_FILE}."
            )
        bundles = [TensorBundle(path) for path in sorted(folder.rglob("*.index"))]
        vectors = _one_of(folder, [bundle for bundle in bundles if BLOCK_EMB in bundle.variables], "a block_emb")
        if checkpoint is None:
            whole = [bundle for bundle in bundles if _parts(bundle) >= {"embedder", "reader"}]
            model = _one_of(folder, whole, "an embedder and a reader (give one with --checkpoint)")
        else:
            model = TensorBundle(checkpoint)
        records = _file_of(folder, _BLOCKS_FILE)
        if records is None:
            raise SourceError(f"No {_BLOCKS_FILE} below {folder}; it holds the texts of the blocks.")
        plan = plan_google_checkpoint(model, "openqa")
        with refusing(folder):
            config = _config(folder, model, plan, vectors.variables[BLOCK_EMB].shape)
            tokenizer = _tokenizer(folder, config)
        return cls(folder, config, tokenizer, model, plan, vectors, records, _file_of(folder, TITLES_FILE))

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return self.vectors.variables[BLOCK_EMB].shape[0]

    @property
    def dim(self) -> int:
        """Numbers in each."""
        return self.vectors.variables[BLOCK_EMB].shape[1]

    def vector_chunks(self, max_rows: int) -> Iterator[NDArray[np.float32]]:
        """The vectors in order, at most `max_rows` at a time; their checksum is compared after the last."""
        for rows in self.vectors.iterate_rows(BLOCK_EMB, max_rows):
            yield rows.astype(np.float32, copy=False)

    def records(self) -> Iterator[bytes]:
        """The block texts in order."""
        return iterate_tfrecord(self.records_path)

    def write_model(self, folder: Path) -> None:
        """Write the model under our names."""
        weights = {
            ours: tensor_stream(partial(read_weight, self.model, theirs))
            for ours, theirs in self.plan.sources.items()
            if is_model_weight(ours)
        }
        write_model_files(folder, self.config, weights, self.tokenizer)


def _parts(bundle: TensorBundle) -> set[str]:
    """What of an Open-QA model a checkpoint holds."""
    return {found[0].part for name in bundle.variables if (found := find_row(name, "openqa")) is not None}


def _one_of(folder: Path, found: list[TensorBundle], what: str) -> TensorBundle:
    if len(found) == 1:
        return found[0]
    names = ", ".join(str(bundle.prefix) for bundle in found[:3]) or "none"
    raise SourceError(f"Below {folder} one checkpoint should hold {what}; found {names}.")


def _file_of(folder: Path, name: str) -> Path | None:
    """The file of a name; copies of it do no harm, other files of that name do."""
    found = [path for path in sorted(folder.rglob(name)) if path.is_file()]
    if len({path.read_bytes() for path in found}) > 1:
        raise SourceError(f"Below {folder} there are {found[0]} and {found[1]}; keep the one that is meant.")
    return found[0] if found else None


def _config(folder: Path, model: TensorBundle, plan: ImportPlan, block_emb: tuple[int, ...]) -> RealmConfig:
    """Sizes that the shapes of variables tell; of the rest, the defaults are the release's."""

    def shape(name: str) -> tuple[int, ...]:
        source = plan.sources[name]
        found = model.variables[source.name].shape
        return found[::-1] if source.transposed else found

    trunk = "embedder.realm"
    vocabulary, hidden = shape(f"{trunk}.embeddings.word_embeddings.weight")
    dim = shape("embedder.cls.dense.weight")[0]
    require_block_emb(folder, block_emb, torch.float32, dim)
    return RealmConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        retriever_proj_size=dim,
        num_hidden_layers=sum(name.startswith(trunk) and name.endswith(".output.dense.bias") for name in plan.sources)
        // 2,
        num_attention_heads=_heads(folder, hidden),
        intermediate_size=shape(f"{trunk}.encoder.layer.0.intermediate.dense.weight")[0],
        max_position_embeddings=shape(f"{trunk}.embeddings.position_embeddings.weight")[0],
        type_vocab_size=shape(f"{trunk}.embeddings.token_type_embeddings.weight")[0],
        span_hidden_size=shape("reader.qa_outputs.dense_output.weight")[1],
        num_block_records=block_emb[0],
    )


def _heads(folder: Path, hidden: int) -> int:
    """How many heads attention has: no shape tells it."""
    path = _file_of(folder, _HEADS_FILE)
    if path is not None:
        return int(json.loads(path.read_text(encoding="utf-8"))["num_attention_heads"])
    if hidden % _HEAD_WIDTH:
        raise ModelError(
            f"{folder}: layers {hidden} wide; put the {_HEADS_FILE} there that says how many heads they have."
        )
    return hidden // _HEAD_WIDTH


def _tokenizer(folder: Path, config: RealmConfig) -> RealmTokenizerFast:
    path = _file_of(folder, _VOCABULARY_FILE)
    if path is None:
        raise SourceError(f"No {_VOCABULARY_FILE} below {folder}; copy it there from the assets of a module.")
    tokenizer = RealmTokenizerFast(vocab_file=str(path), model_max_length=config.max_position_embeddings)
    if len(tokenizer) > config.vocab_size:
        raise ModelError(f"{path}: {len(tokenizer):,} word pieces, and the model knows {config.vocab_size:,}.")
    return tokenizer
