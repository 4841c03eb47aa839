"""The pictures of a report: risk over coverage, confidence against accuracy, recall over depth.

Knows figures only. matplotlib is the extra `evaluate`, asked for when a plot is drawn. Readable in print without
colour: lines differ in their marks, and every axis says its unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from realm.evaluation.bootstrap import Estimate
from realm.evaluation.calibration import ReliabilityBin
from realm.evaluation.figures import Figures
from realm.evaluation.selective import RiskCoverage
from realm.extras import require

_BLUE, _ORANGE, _GREY = "#1f4e8c", "#c75b12", "#666666"
_INCHES = (5.2, 3.9)
_DPI = 200
_STYLES = {"answer_recall": (_BLUE, "o", "answer"), "gold_recall": (_ORANGE, "s", "gold passage")}


def draw_plots(folder: Path, figures: Figures) -> list[Path]:
    """Draw what the figures allow, as PNG files.

    Returns:
        The files: of risk_coverage.png, reliability.png and recall.png those that could be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "evaluate")
    curve, error, recalls = figures.risk_coverage, figures.calibration_error, figures.recall_curves
    drawn = []
    if curve is not None:
        drawn.append(draw(folder / "risk_coverage.png", lambda figure: _risk_coverage(figure, curve)))
    if error is not None:
        drawn.append(draw(folder / "reliability.png", lambda figure: _reliability(figure, figures.reliability, error)))
    if recalls:
        drawn.append(draw(folder / "recall.png", lambda figure: _recall(figure, recalls)))
    return drawn


def draw(path: Path, fill: Callable[[Any], None], inches: tuple[float, float] = _INCHES) -> Path:
    """Write a PNG file of a matplotlib figure that `fill` fills."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=_DPI, layout="constrained")
    fill(figure)
    figure.savefig(path, metadata={"Software": None})
    return path


def _axes(figure: Any, title: str, across: str, up: str) -> Any:
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(across, fontsize=9)
    axes.set_ylabel(up, fontsize=9)
    quiet(axes)
    return axes


def quiet(axes: Any) -> None:
    """Take what draws the eye from the data out of a panel."""
    axes.tick_params(labelsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any) -> None:
    """Below the plot, where it hides nothing."""
    figure.legend(fontsize=7.5, ncols=2, frameon=False, loc="outside lower center")


def _percent(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _risk_coverage(figure: Any, curve: RiskCoverage) -> None:
    n = curve.aurc.n
    title = f"Risk over coverage (n = {n:,} answers)"
    axes = _axes(figure, title, "coverage: share of answers given, surest first", "risk: share of these that are wrong")
    low, high = ([getattr(risk, side) for risk in curve.risks] for side in ("low", "high"))
    axes.fill_between(curve.coverage, low, high, color=_BLUE, alpha=0.18, linewidth=0, label="95 % interval")
    area = f"by confidence (area {curve.aurc.value:.3f})"
    axes.plot(curve.coverage, [risk.value for risk in curve.risks], color=_BLUE, linewidth=1.6, label=area)
    right = 1 - curve.risk
    best = [max(0.0, 1 - right / coverage) for coverage in curve.coverage]
    axes.plot(
        curve.coverage, best, ":", color=_GREY, linewidth=1.3, label=f"best possible (area {curve.best_aurc:.3f})"
    )
    axes.axhline(curve.risk, color=_GREY, linewidth=1.0, linestyle="--", label=f"all answers ({curve.risk:.1%} wrong)")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, min(1.0, max(0.05, 1.12 * max(high))))
    _percent(axes.xaxis)
    _percent(axes.yaxis)
    _legend(figure)


def _reliability(figure: Any, bins: Sequence[ReliabilityBin], error: Estimate) -> None:
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    axes.set_title(f"Reliability (n = {error.n:,} answers)", fontsize=10, loc="left")
    interval = f"{error.value:.3f} [{error.low:.3f}, {error.high:.3f}]"
    axes.plot([0, 1], [0, 1], "--", color=_GREY, linewidth=1.0, label="perfectly calibrated")
    accuracy = np.array([b.accuracy for b in bins])
    low, high = np.array([_wilson(b.accuracy, b.n) for b in bins]).T
    spread = [np.maximum(0, accuracy - low), np.maximum(0, high - accuracy)]
    across = [b.confidence for b in bins]
    axes.errorbar(
        across, accuracy, yerr=spread, fmt="o", color=_BLUE, markersize=4, linewidth=1.1, capsize=2.5,
        label=f"answers by confidence, 95 % interval\n(calibration error {interval})",
    )  # fmt: skip
    middles, width = [(b.low + b.high) / 2 for b in bins], bins[0].high - bins[0].low
    below.bar(middles, [b.n for b in bins], width=0.92 * width, color=_BLUE, alpha=0.55)
    axes.set_ylabel("share that is right", fontsize=9)
    below.set_ylabel("answers", fontsize=9)
    below.set_xlabel("confidence", fontsize=9)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.02, 1.02)
    for part in (axes, below):
        quiet(part)
    _percent(below.xaxis)
    _percent(axes.yaxis)
    _legend(figure)


def _recall(figure: Any, curves: Mapping[str, Mapping[int, Estimate]]) -> None:
    n = max(estimate.n for points in curves.values() for estimate in points.values())
    axes = _axes(
        figure, f"Recall over depth (n = {n:,} questions)", "k: blocks retrieved (logarithmic)",
        "questions with a hit in the best k",
    )  # fmt: skip
    deepest = 1
    for name, points in curves.items():
        colour, mark, label = _STYLES[name]
        across = list(points)
        deepest = max(deepest, *across)
        low, high = ([getattr(estimate, side) for estimate in points.values()] for side in ("low", "high"))
        band = axes.fill_between(across, low, high, color=colour, alpha=0.16, linewidth=0)
        values = [estimate.value for estimate in points.values()]
        axes.plot(across, values, marker=mark, color=colour, markersize=4, linewidth=1.5, label=label)
    band.set_label("95 % interval")
    axes.set_xscale("log")
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100) if k <= deepest]
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    _percent(axes.yaxis)
    _legend(figure)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: a bin of three answers, all right, has no bootstrap interval to speak of."""
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return middle - half, middle + half
