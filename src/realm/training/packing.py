"""What two runs learned, as one small file: every weight that the public trunk does not already have."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from realm.errors import ModelError, UsageError
from realm.models.configuration import RealmConfig
from realm.openqa.default_model import trunk_folder
from realm.training.warm_start import TOWERS, WEIGHTS_FILE, differing_weights, find_trained

_CLASSES = {tower: kind for kind, tower in TOWERS.items()}
_BOTH = "RealmForOpenQA"
_OF_THE_RUN = ("reader_beam_size", "reader_seq_len", "searcher_beam_size", "separate_query_embedder")
_SHARED_SIZES = ("hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads", "intermediate_size")
_NEVER_READ = {"embedder": ("cls.predictions.",), "reader": ("cls.predictions.", "realm.pooler.")}


def pack_runs(
    embedder_run: Path, reader_run: Path, out: Path, *, earlier_reader: Path | None = None, share: float = 1.0
) -> int:
    """Write `config.json` and `weights.safetensors` (float16), from which realm-mini is assembled.

        reader = share * reader_run + (1 - share) * earlier_reader

    Args:
        embedder_run: A run of `embedder`, or of `finetune` whose questions have no tower of their own; or, as in the
            next two, its model folder, or "realm-mini" for what ships so far.
        reader_run: A run of `reader` or of `finetune`.
        out: Folder to write to.
        earlier_reader: A run that the reader went on from. The mean of both sets of weights keeps what the earlier
            one could and the later one has lost.
        share: Of the later one in that mean, above 0 and at most 1.

    Returns:
        Bytes of the weights file.

    Raises:
        ModelError: A run has no result, or that of another job; the two have trunks of different sizes; a weight
            is too large for half precision.
        UsageError: The folder cannot be written to.

    Source of the mean: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models".
    """
    trunk = load_file(trunk_folder() / "model.safetensors")
    configs = {"embedder": _config(embedder_run, "embedder"), "reader": _config(reader_run, "reader")}
    for key in _SHARED_SIZES:
        found = {getattr(config, key) for config in configs.values()}
        if len(found) > 1:
            raise ModelError(f"The two runs differ in {key}: {sorted(found)}. Train both with the same extra_layers.")
    reader = _weights(reader_run, "reader")
    if earlier_reader is not None:
        reader = _mean(reader, _weights(earlier_reader, "reader"), share, f"{reader_run} and {earlier_reader}")
    weights = _learned(_weights(embedder_run, "embedder"), "embedder", trunk)
    weights |= _learned(reader, "reader", trunk)
    data = save(weights, metadata={"format": "pt"})
    values = configs["reader"].to_diff_dict()
    values["architectures"] = [_BOTH]
    values |= {key: getattr(RealmConfig(), key) for key in _OF_THE_RUN}
    values["retriever_proj_size"] = configs["embedder"].retriever_proj_size
    values["weights_sha256"] = hashlib.sha256(data).hexdigest()
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "weights.safetensors").write_bytes(data)
        (out / "config.json").write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"{out} cannot be written: {exc.strerror or exc}. Give another folder.") from exc
    return len(data)


def _config(run: Path, tower: str) -> RealmConfig:
    config: RealmConfig = RealmConfig.from_pretrained(find_trained(str(run)))
    if not {_CLASSES[tower], _BOTH}.intersection(config.architectures or ()):
        raise ModelError(
            f"{run} is not the result of `realm train {tower}` or `realm train finetune`: its model is "
            f"{config.architectures}, expected {_CLASSES[tower]} or {_BOTH}. Name the embedder's run first, then the "
            "reader's."
        )
    if tower == "embedder" and config.separate_query_embedder:
        raise ModelError(
            f"In {run} questions have an embedder of their own, which realm-mini has no room for. Name the run whose "
            "embedder made the vectors of blocks."
        )
    return config


def _weights(run: Path, tower: str) -> dict[str, Tensor]:
    """Weights of a run's tower that are read, under their own names."""
    _config(run, tower)
    weights = load_file(find_trained(str(run)) / WEIGHTS_FILE)
    prefix = f"{tower}."
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    return {key: value for key, value in (own or weights).items() if not key.startswith(_NEVER_READ[tower])}


def _mean(later: dict[str, Tensor], earlier: dict[str, Tensor], share: float, runs: str) -> dict[str, Tensor]:
    if differing := differing_weights(later, earlier):
        raise ModelError(f"{runs} cannot be averaged: {len(differing)} weights differ, {differing[0]} first.")
    return {key: torch.lerp(earlier[key].float(), value.float(), share) for key, value in later.items()}


def _learned(weights: dict[str, Tensor], tower: str, trunk: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those that are not the trunk's, under their names in a `RealmForOpenQA`."""
    learned = {}
    for key, value in weights.items():
        public = trunk.get(key.removeprefix("realm."))
        if public is None or not torch.equal(public.float(), value.float()):
            half = value.to(torch.float16).contiguous()
            if not torch.isfinite(half).all():
                raise ModelError(f"{tower}.{key} does not fit half precision: the run has diverged. Train it again.")
            learned[f"{tower}.{key}"] = half
    return learned
