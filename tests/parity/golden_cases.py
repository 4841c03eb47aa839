"""The golden network cases as read from disk, and our models with their weights. It compares nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

GOLDENS = Path(__file__).parent / "goldens"
ATTENTIONS = ("eager", "sdpa")
CLASSES = {
    "embedder": ("realm.models.embedder", "RealmEmbedder"),
    "scorer": ("realm.models.scorer", "RealmScorer"),
    "scorer_own": ("realm.models.scorer", "RealmScorer"),
    "encoder": ("realm.models.encoder", "RealmKnowledgeAugEncoder"),
    "reader": ("realm.models.reader", "RealmReader"),
    "openqa": ("realm.openqa.model", "RealmForOpenQA"),
}


@dataclass(frozen=True)
class Case:
    """A golden case as read from disk."""

    name: str
    head: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def class_name(self) -> str:
        """Class the calls were made on."""
        return CLASSES[self.head["kind"]][1]

    def call(self, name: str) -> Mapping[str, Any]:
        """One recorded call."""
        found: Mapping[str, Any] = next(call for call in self.head["calls"] if call["name"] == name)
        return found

    def part(self, call: str, part: str) -> dict[str, Tensor]:
        """Tensors of one part of a call, by name: inputs, outputs, gradients, input_gradients."""
        prefix = f"{call}/{part}/"
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


@cache
def case(name: str) -> Case:
    """Read `networks/<name>.json` and its tensors."""
    head = json.loads((GOLDENS / "networks" / f"{name}.json").read_text(encoding="utf-8"))
    return Case(name, head, load_file(GOLDENS / "networks" / f"{name}.safetensors"))


def case_names(openqa: bool) -> list[str]:
    """Names of all cases of RealmForOpenQA, or of all others."""
    names = sorted(path.stem for path in (GOLDENS / "networks").glob("*.json"))
    return [name for name in names if name.startswith("openqa") == openqa]


def calls(openqa: bool) -> list[tuple[str, str]]:
    """Every (case, call)."""
    return [(name, call["name"]) for name in case_names(openqa) for call in case(name).head["calls"]]


def load_model(golden: Case, attention: str, form: str = "weights") -> Any:
    """Our model with the golden weights.

    Args:
        golden: Names kind and folder.
        attention: Attention implementation.
        form: Which saved form to read: weights (safetensors), weights_bin or weights_sharded.
    """
    module, name = CLASSES[golden.head["kind"]]
    folder = GOLDENS / golden.head["weights"].replace("weights", form, 1)
    options: dict[str, Any] = {"attn_implementation": attention, **golden.head["overrides"]}
    if golden.head["kind"] == "openqa":
        options["retriever"] = load_retriever(golden.head)
    return getattr(import_module(module), name).from_pretrained(folder, **options)


def load_retriever(head: Mapping[str, Any]) -> Any:
    """Our retriever over the golden records, which are bytes as in `block_records.npy`."""
    tokenizer = import_module("realm.text.tokenization").RealmTokenizer(str(GOLDENS / head["vocabulary"]))
    records = np.array([record.encode() for record in head["records"]], dtype=object)
    return import_module("realm.openqa.retriever").RealmRetriever(records, tokenizer)


@cache
def shared_model(name: str, attention: str) -> Any:
    """One model per case and attention; calls leave nothing behind in it but gradients."""
    return load_model(case(name), attention)
