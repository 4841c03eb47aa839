"""Configurations and weights of the network goldens, and the files 4.37.2 saves them in.

The configurations are tiny and differ in what could go wrong: activation, span widths, beams, position
embeddings, the padding row.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from golden_store import fill_weights, generator, old_library, write_json

_SMALL: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 19,
    "max_position_embeddings": 48,
    "retriever_proj_size": 8,
    "span_hidden_size": 8,
    "num_candidates": 3,
    "max_span_width": 3,
    "reader_beam_size": 2,
    "searcher_beam_size": 12,
    "num_block_records": 30,
    "reader_seq_len": 40,
    "pad_token_id": 0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
_BASE = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 37, "retriever_proj_size": 16}
_BEAMS = {"max_span_width": 5, "reader_beam_size": 3, "searcher_beam_size": 8, "num_block_records": 20}
CONFIGS: dict[str, dict[str, Any]] = {
    "base": _SMALL | _BASE | _BEAMS | {"span_hidden_size": 16},
    "beams": _SMALL | _BEAMS,
    "gelu": _SMALL | {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "reader_layer_norm_eps": 1e-2},
    "relative_key": _SMALL | {"position_embedding_type": "relative_key"},
    "relative_key_query": _SMALL | {"position_embedding_type": "relative_key_query"},
    "old_pad": {
        key: value for key, value in _SMALL.items() if key != "pad_token_id" and not key.endswith("dropout_prob")
    },
}
KINDS = {
    "embedder": "RealmEmbedder",
    "scorer": "RealmScorer",
    "scorer_own": "RealmScorer",
    "encoder": "RealmKnowledgeAugEncoder",
    "reader": "RealmReader",
    "openqa": "RealmForOpenQA",
}
WEIGHTS = {
    "base": ("embedder", "encoder", "reader"),
    "beams": ("openqa",),
    "gelu": ("embedder", "scorer", "scorer_own", "encoder", "reader", "openqa"),
    "relative_key": ("embedder", "reader"),
    "relative_key_query": ("embedder", "reader"),
    "old_pad": ("encoder", "reader"),
}


def build(config_name: str, kind: str) -> Any:
    """A model of 4.37.2 with the weights of this name."""
    library = old_library()
    config = library.RealmConfig(**CONFIGS[config_name])
    own = {"query_embedder": library.RealmEmbedder(config)} if kind == "scorer_own" else {}
    model = getattr(library, KINDS[kind])(config, **own)
    fill_weights(model, f"{config_name}/{kind}")
    return model.eval()


def ids(name: str, *shape: int) -> torch.Tensor:
    """Token ids over the whole vocabulary but padding."""
    return torch.randint(1, 99, shape, generator=generator("ids", name))


def padded(name: str, lengths: list[int], width: int) -> dict[str, torch.Tensor]:
    """Rows of the given lengths, id 0 to the right of them, second segment from a third of the length on."""
    place = torch.arange(width)[None, :]
    length = torch.tensor(lengths)[:, None]
    mask = (place < length).long()
    types = ((place >= length // 3) & (place < length)).long()
    return {
        "input_ids": ids(name, len(lengths), width) * mask,
        "attention_mask": mask,
        "token_type_ids": types,
    }


def floats(name: str, *shape: int) -> torch.Tensor:
    """Normal numbers that depend on the name only."""
    return torch.randn(*shape, generator=generator("floats", name))


def write_weights(folder: Path) -> None:
    """4.37.2's own files: safetensors of everything, `.bin` and sharded forms of one configuration."""
    for config_name, kinds in WEIGHTS.items():
        for kind in kinds:
            build(config_name, kind).save_pretrained(folder / "weights" / config_name / kind)
    for kind in ("embedder", "scorer", "encoder", "reader", "openqa"):
        target = folder / "weights_bin" / "gelu" / kind
        build("gelu", kind).save_pretrained(target, safe_serialization=False)
        if kind in ("embedder", "reader"):
            _dress_as_released(target)
    build("gelu", "openqa").save_pretrained(folder / "weights_sharded" / "gelu" / "openqa", max_shard_size="20KB")


def _dress_as_released(folder: Path) -> None:
    """Add what released files of 4.16.0.dev0 hold beyond today's: stored positions, old config keys."""
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    weights["realm.embeddings.position_ids"] = torch.arange(48)[None, :]
    torch.save(weights, folder / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text())
    config |= {"searcher_seq_len": 64, "use_cache": True, "transformers_version": "4.16.0.dev0"}
    write_json(folder / "config.json", config)
