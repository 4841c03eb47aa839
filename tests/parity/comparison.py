"""Compares our classes with the goldens of transformers 4.37.2, call by call, and gives one check per value.

A golden case is a configuration with its weights and several calls (made by `tools/make_goldens.py`). Every
compared value becomes one `Check` with its largest absolute difference. The networks differ nowhere on purpose;
`tokenizer_comparison` and `retriever_comparison` say at their heads where their classes do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from golden_cases import ATTENTIONS, Case, calls, case, shared_model
from torch import Tensor

ALLOWED = 2e-5


@dataclass(frozen=True)
class Check:
    """One compared value.

    Attributes:
        class_name: The class it belongs to.
        what: Case, call and value.
        difference: Largest absolute difference; infinite if shape, dtype, presence or an exact value differs.
        exact: Whether any difference at all is a failure.
    """

    class_name: str
    what: str
    difference: float
    exact: bool = False

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed."""
        return self.difference <= (0.0 if self.exact else ALLOWED)


def compare_call(name: str, call_name: str, attention: str) -> list[Check]:
    """Repeat one golden call with our class and compare everything it recorded."""
    golden, model = case(name), shared_model(name, attention)
    call = golden.call(call_name)
    checker = _Checker(golden, f"{name}/{call_name} {attention}")
    model.train(call["mode"] == "train")
    model.zero_grad(set_to_none=True)
    inputs = _inputs(golden, call)
    if "error" in call:
        checker.error(call["error"], model, inputs)
        return checker.checks
    output = model(**inputs, return_dict=True)
    checker.outputs(call, golden.part(call_name, "outputs"), output)
    if "tuple" in call:
        checker.tuple_form(call["tuple"], model(**inputs, return_dict=False), output)
    if "backward" in call:
        _send_gradient(golden, call, output)
        checker.gradients(call, golden, model, inputs)
    return checker.checks


def _inputs(golden: Case, call: Mapping[str, Any]) -> dict[str, Any]:
    leaves = call.get("input_gradients", ())
    ready: dict[str, Any] = {}
    for name, stored in call["inputs"].items():
        if "tensor" in stored:
            ready[name] = golden.tensors[stored["tensor"]].clone().requires_grad_(name in leaves)
        else:
            ready[name] = stored["value"]
    return ready


def _send_gradient(golden: Case, call: Mapping[str, Any], output: Any) -> None:
    target = flatten(output)[call["backward"]]
    weights = golden.tensors.get(f"{call['name']}/cotangent")
    (target if weights is None else (target * weights).sum()).backward()


def flatten(output: Any) -> dict[str, Tensor]:
    """Every tensor of an output, by dotted name: `hidden_states.2`, `reader_output.loss`."""
    flat: dict[str, Tensor] = {}
    for name, value in output.items():
        if isinstance(value, Tensor):
            flat[name] = value
        elif isinstance(value, tuple):
            flat.update({f"{name}.{number}": item for number, item in enumerate(value)})
        else:
            flat.update({f"{name}.{inner}": item for inner, item in flatten(value).items()})
    return flat


def largest_difference(found: Tensor | None, wanted: Tensor) -> float:
    """Largest absolute difference of two tensors; infinite if shape, dtype or NaNs differ."""
    if found is None or found.shape != wanted.shape or found.dtype != wanted.dtype:
        return float("inf")
    if not wanted.is_floating_point():
        return 0.0 if torch.equal(found, wanted) else float("inf")
    if wanted.numel() == 0:
        return 0.0
    # Order: the same infinities differ by nan, so equal entries are taken out first.
    difference = (found.detach() - wanted).abs().masked_fill(found == wanted, 0.0)
    return float("inf") if difference.isnan().any() else float(difference.max())


class _Checker:
    """Collects the checks of one call."""

    def __init__(self, golden: Case, where: str) -> None:
        self.golden, self.where = golden, where
        self.checks: list[Check] = []

    def add(self, what: str, difference: float, exact: bool = False) -> None:
        """Note one check."""
        self.checks.append(Check(self.golden.class_name, f"{self.where}: {what}", difference, exact))

    def fact(self, what: str, holds: bool) -> None:
        """Note something that is either so or not."""
        self.add(what, 0.0 if holds else float("inf"), exact=True)

    def error(self, wanted: Mapping[str, str], model: Any, inputs: Mapping[str, Any]) -> None:
        """The same exception type (or a subclass) with the same message."""
        try:
            model(**inputs)
        except Exception as exc:  # noqa: BLE001  which exception it is, is the check
            kinds = {kind.__name__ for kind in type(exc).__mro__}
            self.fact(f"raises {wanted['type']}, found {type(exc).__name__}", wanted["type"] in kinds)
            self.fact(f"says {wanted['message']!r}, found {str(exc)!r}", str(exc) == wanted["message"])
        else:
            self.fact(f"raises {wanted['type']}", False)

    def outputs(self, call: Mapping[str, Any], wanted: Mapping[str, Tensor], output: Any) -> None:
        """Every field that was there, and no other."""
        found = flatten(output)
        for name in wanted:
            self.add(name, largest_difference(found.get(name), wanted[name]), not wanted[name].is_floating_point())
        self.fact(f"has no other values than {sorted(wanted)}", set(found) == set(wanted))
        self.fact(f"fields {call['none']} are None", all(getattr(output, name) is None for name in call["none"]))

    def tuple_form(self, names: list[str], values: tuple[Any, ...], output: Any) -> None:
        """`return_dict=False` gives the fields in the recorded order."""
        self.fact(f"tuple of {names}", isinstance(values, tuple) and len(values) == len(names))
        for name, value in zip(names, values, strict=False):
            wanted = output[name]
            same = torch.equal(value, wanted) if isinstance(wanted, Tensor) else type(value) is type(wanted)
            self.fact(f"tuple entry {name}", same)

    def gradients(self, call: Mapping[str, Any], golden: Case, model: Any, inputs: Mapping[str, Any]) -> None:
        """What arrived at every parameter and at the chosen inputs; nothing where nothing arrived before."""
        for name, wanted in golden.part(call["name"], "input_gradients").items():
            self.add(f"gradient of input {name}", largest_difference(inputs[name].grad, wanted))
        parameters = dict(model.named_parameters(remove_duplicate=False))
        for name, wanted in golden.part(call["name"], "gradients").items():
            found = parameters[name].grad if name in parameters else None
            self.add(f"gradient of {name}", largest_difference(found, wanted))
        for name in (*call["zero_gradients"], *call["no_gradient"]):
            # Where 4.37.2 had exactly 0, another order of additions leaves a rounding error.
            self.add(f"gradient of {name}", _largest_gradient(parameters.get(name)))
        recorded = {*call["gradients"], *call["zero_gradients"], *call["no_gradient"]}
        if recorded:
            known = {id(parameters[name]) for name in recorded if name in parameters}
            self.fact("no other parameters", all(id(value) in known for value in parameters.values()))


def _largest_gradient(parameter: Tensor | None) -> float:
    if parameter is None:
        return float("inf")
    return 0.0 if parameter.grad is None else float(parameter.grad.abs().max())


def failures(checks: list[Check]) -> str:
    """One line for each check that failed; empty if none did."""
    return "\n".join(f"{check.what} differs by {check.difference:.2e}" for check in checks if not check.passed)


def every_network_check() -> Iterator[Check]:
    """All checks of all networks, eager and sdpa."""
    for openqa in (False, True):
        for name, call in calls(openqa):
            for attention in ATTENTIONS:
                yield from compare_call(name, call, attention)
