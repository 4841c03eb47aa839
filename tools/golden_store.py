"""How one call of a transformers 4.37.2 model is recorded: inputs, outputs, gradients, tuple order, error.

A case is two files: `<case>.json` (what was called, in which order, made with which versions) and
`<case>.safetensors` (every tensor, named `<call>/<part>/<name>`). Which calls are worth it, others know.
"""

from __future__ import annotations

import importlib
import json
import platform
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

EXPECTED_TRANSFORMERS = "4.37.2"
SMALLEST_MARGIN = 1e-3


def old_library() -> Any:
    """transformers as this environment has it; untyped, since later releases lack the classes wanted."""
    library = importlib.import_module("transformers")
    library.logging.set_verbosity(library.logging.CRITICAL)
    return library


def versions() -> dict[str, str]:
    """Versions of everything that had a part in the numbers."""
    names = ("transformers", "torch", "numpy", "tokenizers", "safetensors")
    found = {name: str(importlib.import_module(name).__version__) for name in names}
    return {"python": platform.python_version(), **found}


def generator(*parts: str) -> torch.Generator:
    """A random generator that depends on its name only, so that a new case moves no old one."""
    return torch.Generator().manual_seed(zlib.crc32("/".join(parts).encode()))


def fill_weights(model: torch.nn.Module, name: str) -> None:
    """Give every parameter and every stored buffer values large enough for a wrong formula to show."""
    with torch.no_grad():
        for key, value in [*model.named_parameters(), *model.named_buffers()]:
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator(name, key))
            if key == "block_emb":
                value.copy_(noise)
            elif "LayerNorm" in key or "layer_normalization" in key:
                value.copy_((1.0 if key.endswith("weight") else 0.0) + 0.3 * noise)
            else:
                value.copy_(0.2 * noise)


@dataclass
class Call:
    """One call to record.

    Attributes:
        name: Unique in its case.
        inputs: Keyword arguments of `forward`; tensors or plain JSON values.
        mode: Of the module. Training is only recorded with every dropout at 0.
        backward: An output to send a gradient from: a loss as it is, anything else times random weights.
        input_gradients: Inputs whose gradient is recorded too.
        parameters: Whether the gradients of the weights are recorded, not only those of the inputs.
        compare_tuple: Whether `return_dict=False` is recorded as well.
    """

    name: str
    inputs: Mapping[str, Any]
    mode: Literal["eval", "train"] = "eval"
    backward: str | None = None
    input_gradients: Sequence[str] = ()
    parameters: bool = True
    compare_tuple: bool = True


@dataclass
class Case:
    """Calls on one set of weights, collected before they are written."""

    name: str
    kind: str
    weights: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def record(self, model: Any, call: Call) -> Any:
        """Run `call` on `model` and keep everything it gave; an exception is kept by its type and message."""
        model.train(call.mode == "train")
        model.zero_grad(set_to_none=True)
        entry: dict[str, Any] = {"name": call.name, "mode": call.mode, "inputs": {}}
        self.calls.append(entry)
        inputs = self._keep_inputs(call, entry)
        try:
            output = model(**inputs, return_dict=True)
        except Exception as exc:  # noqa: BLE001  whatever 4.37.2 raises is the golden value
            entry["error"] = {"type": type(exc).__name__, "message": str(exc)}
            return None
        entry["outputs"], entry["none"] = self._keep_outputs(call, output)
        if call.compare_tuple:
            entry["tuple"] = tuple_order(model(**inputs, return_dict=False), output)
        if call.backward is not None:
            self._keep_gradients(model, call, entry, inputs, output)
        return output

    def _keep_inputs(self, call: Call, entry: dict[str, Any]) -> dict[str, Any]:
        """Clone tensor inputs (those with a recorded gradient as leaves) and note the plain ones."""
        ready: dict[str, Any] = {}
        for name, value in call.inputs.items():
            if isinstance(value, torch.Tensor):
                self.tensors[f"{call.name}/inputs/{name}"] = value.detach().clone().contiguous()
                entry["inputs"][name] = {"tensor": f"{call.name}/inputs/{name}"}
                value = value.clone().requires_grad_(name in call.input_gradients)
            else:
                entry["inputs"][name] = {"value": value}
            ready[name] = value
        return ready

    def _keep_outputs(self, call: Call, output: Any) -> tuple[list[str], list[str]]:
        """Keep every tensor of the output; returns the names kept and the fields that were None."""
        flat = flatten(output)
        for name, value in flat.items():
            self.tensors[f"{call.name}/outputs/{name}"] = value.detach().clone().contiguous()
        missing = [name for name in type(output).__dataclass_fields__ if getattr(output, name) is None]
        return list(flat), missing

    def _keep_gradients(
        self, model: Any, call: Call, entry: dict[str, Any], inputs: Mapping[str, Any], output: Any
    ) -> None:
        """Send a gradient back from `call.backward`; keep what arrives at parameters and chosen inputs."""
        target = flatten(output)[str(call.backward)]
        entry["backward"] = call.backward
        if target.dim() > 0:
            weights = (
                torch.randn(target.shape, generator=generator(self.name, call.name, "cotangent"))
                / target.numel() ** 0.5
            )
            self.tensors[f"{call.name}/cotangent"] = weights
            target = (target * weights).sum()
        target.backward()
        entry["gradients"], entry["zero_gradients"], entry["no_gradient"] = [], [], []
        for name, parameter in model.named_parameters() if call.parameters else ():
            if parameter.grad is None:
                entry["no_gradient"].append(name)
            elif not parameter.grad.any():
                entry["zero_gradients"].append(name)
            else:
                entry["gradients"].append(name)
                self.tensors[f"{call.name}/gradients/{name}"] = parameter.grad.detach().clone()
        entry["input_gradients"] = list(call.input_gradients)
        for name in call.input_gradients:
            self.tensors[f"{call.name}/input_gradients/{name}"] = inputs[name].grad.detach().clone()

    def write(self, folder: Path) -> None:
        """Write `<name>.json` and `<name>.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        head = {
            "made_with": versions(),
            "kind": self.kind,
            "weights": self.weights,
            "overrides": dict(self.overrides),
        }
        write_json(folder / f"{self.name}.json", {**head, **self.extra, "calls": self.calls})
        save_file(self.tensors, str(folder / f"{self.name}.safetensors"))


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys and a closing newline, so that a second run gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=True, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def flatten(output: Any) -> dict[str, torch.Tensor]:
    """Every tensor of an output, by dotted name: `hidden_states.2`, `reader_output.loss`."""
    flat: dict[str, torch.Tensor] = {}
    for name, value in output.items():
        if isinstance(value, torch.Tensor):
            flat[name] = value
        elif isinstance(value, tuple):
            flat.update({f"{name}.{index}": item for index, item in enumerate(value)})
        else:
            flat.update({f"{name}.{inner}": item for inner, item in flatten(value).items()})
    return flat


def tuple_order(values: tuple[Any, ...], output: Any) -> list[str]:
    """Names of the fields a plain tuple holds, in its order; stops if a value is not the named output's."""
    names = list(output.keys())
    if len(names) != len(values):
        raise RuntimeError(f"{len(values)} tuple entries for the fields {names}")
    for name, value in zip(names, values, strict=True):
        same = (
            torch.equal(value, output[name]) if isinstance(value, torch.Tensor) else type(value) is type(output[name])
        )
        if not same:
            raise RuntimeError(f"tuple entry {name} is not the field of that name")
    return names


def require_margin(scores: torch.Tensor, what: str) -> None:
    """Stop if the two best of `scores` are so close that rounding could swap them."""
    best = torch.topk(scores.flatten(), 2).values
    if float(best[0] - best[1]) < SMALLEST_MARGIN:
        raise RuntimeError(f"{what}: the two best scores differ by {float(best[0] - best[1]):.2e}; choose another seed")
