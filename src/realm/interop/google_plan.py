"""Which variable of a Google checkpoint goes into which weight, and what is left over on either side.

    variables of the checkpoint ── table of names ── parts found ── each of their weights: filled or not

Knows names and shapes, and reads no weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from realm.errors import ModelError
from realm.interop.google_names import (
    Flavour,
    GoogleName,
    Target,
    find_row,
    is_optimiser_slot,
    table,
    weights_without_variable,
)
from realm.interop.tensorflow_bundle import TensorBundle

_SHOWN_NAMES: Final = 8
_HINTS: Final[tuple[Target, ...]] = ("embedder", "encoder", "reader")


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What `load_google_checkpoint` does with a checkpoint.

    Attributes:
        prefix: The checkpoint.
        target: The network.
        sources: For each weight that is filled its variable, in the order of the table.
        unfilled: Weights for which there is no variable; of a part that is wholly absent `part.*`.
        unused: Variables of other networks, sorted.
        slots: Variables of the optimiser, sorted.
    """

    prefix: Path
    target: Target
    sources: Mapping[str, GoogleName]
    unfilled: tuple[str, ...]
    unused: tuple[str, ...]
    slots: tuple[str, ...]

    def report(self) -> str:
        """What is filled, what is not and what is left out, in four lines."""
        return "\n".join(
            (
                f"{self.prefix} -> {self.target}: {len(self.sources)} weights filled",
                f"  not filled: {some_of(self.unfilled)}",
                f"  not used: {some_of(self.unused)}",
                f"  of the optimiser: {some_of(self.slots)}",
            )
        )


def plan_google_checkpoint(bundle: TensorBundle, target: Target) -> ImportPlan:
    """Find a variable for every weight of a network.

    Raises:
        ModelError: The checkpoint holds nothing of the network; or some weights of a part of it, but not all
            that this part needs; or a kernel is not a matrix.
        UsageError: There is no such network.
    """
    parts = _parts(bundle, target)
    if not parts:
        count = len(bundle.variables)
        raise ModelError(f"{bundle.prefix} has {count} variables and none of {target}; {_hint(bundle)}")
    sources, unfilled = _matched(bundle, target, parts)
    if missing := tuple(ours for ours, needed in unfilled.items() if needed):
        raise ModelError(
            f"{bundle.prefix} holds {target} in part; {len(missing)} weights are missing: {some_of(missing)}"
        )
    for name, transposed in sources.values():
        shape = bundle.variables[name].shape
        if transposed and len(shape) != 2:
            raise ModelError(f"{bundle.prefix}: {name} has the shape {shape}; expected a matrix")
    used = {found.name for found in sources.values()}
    others = [name for name in bundle.variables if name not in used]
    return ImportPlan(
        prefix=bundle.prefix,
        target=target,
        sources=sources,
        unfilled=tuple(unfilled),
        unused=tuple(name for name in others if not is_optimiser_slot(name)),
        slots=tuple(name for name in others if is_optimiser_slot(name)),
    )


def some_of(names: tuple[str, ...]) -> str:
    """Names for a message: the first few, and how many more."""
    shown = ", ".join(names[:_SHOWN_NAMES])
    return f"{shown} and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else shown or "none"


@dataclass(slots=True)
class _Part:
    """What a checkpoint holds of a part: from which training, and the numbers of its layers."""

    flavour: Flavour
    layers: set[str] = field(default_factory=set)

    def layers_expected(self) -> list[str]:
        """As many as there are, numbered from 0, and at least one; and any beyond, so that a gap shows."""
        return sorted(self.layers | {str(number) for number in range(max(1, len(self.layers)))}, key=int)


def _parts(bundle: TensorBundle, target: Target) -> dict[str, _Part]:
    parts: dict[str, _Part] = {}
    for name in bundle.variables:
        match = find_row(name, target)
        if match is None:
            continue
        row, layer = match
        part = parts.setdefault(row.part, _Part(row.flavour))
        # What is there twice is taken as fine-tuned: for these weights such a checkpoint was saved.
        if (part.flavour, row.flavour) == ("pretrained", "finetuned"):
            part = parts[row.part] = _Part("finetuned")
        if layer and row.flavour == part.flavour:
            part.layers.add(layer)
    return parts


def _matched(
    bundle: TensorBundle, target: Target, parts: Mapping[str, _Part]
) -> tuple[dict[str, GoogleName], dict[str, bool]]:
    """The weights that are filled, with their variables; and those that are not, and whether they must be."""
    sources: dict[str, GoogleName] = {}
    unfilled: dict[str, bool] = {}
    for row in table(target):
        part = parts.get(row.part)
        if part is None:
            unfilled[row.ours if row.ours == row.part else f"{row.part}.*"] = False
            continue
        for layer in part.layers_expected() if "{i}" in row.ours else [""]:
            ours, theirs = row.ours.replace("{i}", layer), row.theirs.replace("{i}", layer)
            if row.flavour != part.flavour:
                unfilled.setdefault(ours, False)
            elif theirs in bundle.variables:
                sources[ours] = GoogleName(theirs, row.transposed)
            else:
                unfilled[ours] = row.needed
    unnamed = [ours for ours, part_name in weights_without_variable(target).items() if part_name in parts]
    unfilled |= dict.fromkeys(unnamed, False)
    return sources, {ours: needed for ours, needed in unfilled.items() if ours not in sources}


def _hint(bundle: TensorBundle) -> str:
    parts: list[str] = [part for part in _HINTS if any(find_row(name, part) for name in bundle.variables)]
    if "block_emb" in bundle.variables:
        parts.append("openqa (block_emb alone)")
    return f"it holds {' and '.join(parts)}" if parts else "it is not a checkpoint of REALM or ORQA"
