"""Compares RealmRetriever with the goldens: padded inputs, which blocks hold an answer, and where.

On purpose, where question and block together are too long, only the block is cut. Such calls are held against
what its own tokenizer and answer search give for `truncation="only_second"`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch
from comparison import Check
from golden_cases import GOLDENS, load_retriever

STORED: dict[str, Any] = json.loads((GOLDENS / "texts" / "retriever.json").read_text(encoding="utf-8"))
CALLS: dict[str, dict[str, Any]] = {call["name"]: call for call in STORED["calls"]}


def retriever_checks(name: str) -> list[Check]:
    """Repeat one golden call."""
    call = CALLS[name]
    given, wanted = call["inputs"], call.get("outputs_of_only_second", call["outputs"])
    has_answers, starts, ends, inputs = load_retriever(STORED)(
        torch.tensor(given["block_ids"]),
        torch.tensor(given["question_ids"]),
        given["answer_ids"],
        max_length=given["max_length"],
    )
    columns = {key: value.tolist() for key, value in inputs.items()}
    return [
        _check(name, "inputs", columns, wanted["concat_inputs"]),
        _check(name, "dtypes", {value.dtype for value in inputs.values()}, {torch.int64}),
        _check(name, "has_answers", has_answers, wanted["has_answers"]),
        _check(name, "start_pos", starts, wanted["start_pos"]),
        _check(name, "end_pos", ends, wanted["end_pos"]),
    ]


def every_retriever_check() -> Iterator[Check]:
    """All checks of RealmRetriever."""
    for name in CALLS:
        yield from retriever_checks(name)


def _check(name: str, what: str, found: Any, wanted: Any) -> Check:
    difference = 0.0 if found == wanted else float("inf")
    return Check("RealmRetriever", f"{name} {what}: found {found}, wanted {wanted}", difference, exact=True)
