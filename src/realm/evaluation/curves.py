"""Learning curves: figures of one or several runs over their steps, one panel for each figure.

Knows series of numbers, not where they come from. matplotlib is the extra `evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from realm.errors import UsageError
from realm.evaluation.plots import draw, quiet
from realm.extras import require

_COLOURS = ("#1f4e8c", "#c75b12", "#2e7d32", "#7b3f98", "#666666", "#a8324a")
_MARKS = ("o", "s", "^", "D", "v", "P")
_PANEL_INCHES = (3.7, 2.6)
_FEW_POINTS = 30

Series = Sequence[tuple[float, float]]
"""Steps, and the figure there."""


def draw_curves(path: Path, figures: Mapping[str, Mapping[str, Series]]) -> Path:
    """Draw a picture, as PNG.

    Args:
        path: Where it goes.
        figures: By name of the figure and name of the run; runs have the same colour and mark in all panels.

    Raises:
        UsageError: The file's name does not end in .png, or it cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: the picture is a PNG; give a name that ends in .png")
    require("matplotlib", "evaluate")
    runs = list(dict.fromkeys(run for series in figures.values() for run in series))
    columns = min(2, len(figures))
    rows = -(-len(figures) // columns)

    def panels(picture: Any) -> None:
        axes = picture.subplots(rows, columns, squeeze=False).flatten()
        for panel, (name, series) in zip(axes, figures.items(), strict=False):
            panel.set_title(name, fontsize=9, loc="left")
            panel.set_xlabel("step", fontsize=8)
            quiet(panel)
            for run, points in series.items():
                place = runs.index(run)
                mark = _MARKS[place % len(_MARKS)] if len(points) <= _FEW_POINTS else None
                panel.plot(
                    *zip(*points, strict=True), color=_COLOURS[place % len(_COLOURS)], marker=mark, markersize=3.5,
                    linewidth=1.3,
                )  # fmt: skip
        for panel in axes[len(figures) :]:
            panel.set_visible(False)
        lines = [_line(place) for place in range(len(runs))]
        if len(runs) > 1:
            picture.legend(lines, runs, fontsize=7.5, ncols=3, frameon=False, loc="outside lower center")

    try:
        return draw(path, panels, (columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1]))
    except OSError as exc:
        raise UsageError(f"{path}: the picture cannot be written: {exc.strerror or exc}") from exc


def _line(place: int) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=_COLOURS[place % len(_COLOURS)], marker=_MARKS[place % len(_MARKS)], markersize=3.5)
