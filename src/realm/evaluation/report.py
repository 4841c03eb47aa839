"""Figures as files: report.json for programs, report.md for people, plots where matplotlib is installed.

Knows figures, not where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from realm.artifacts import write_json_atomically
from realm.errors import MissingExtraError, UsageError
from realm.evaluation.bootstrap import Estimate
from realm.evaluation.figures import Figures
from realm.evaluation.selective import RiskCoverage
from realm.evaluation.significance import PairedTest

REPORT_FORMAT = 1

NAMES = {
    "official_exact_match": "exact match (ORQA)",
    "squad_exact_match": "exact match (SQuAD)",
    "squad_f1": "token F1 (SQuAD)",
    "regex_match_at_start": "regular expression, at the start (ORQA)",
    "regex_match_anywhere": "regular expression, anywhere (DrQA)",
    "answered": "answered",
    "reader_oracle": "answer stands in a block that was read",
    "official_exact_match_where_read": "exact match (ORQA) where it does",
}
_ABOUT_TIME = (
    "Every question counts an equal share of the time that its batch took. "
    "How long one question takes is measured with `realm evaluate --batch 1`."
)
_SHOWN_THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def report_as_json(
    figures: Figures,
    *,
    settings: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
    comparison: Mapping[str, PairedTest] | None = None,
) -> dict[str, Any]:
    """The documented shape of report.json; all shares are between 0 and 1, all times seconds (see `Figures`)."""
    curve = figures.risk_coverage
    return {
        "format": REPORT_FORMAT,
        "questions": figures.n,
        "remarks": list(remarks),
        "settings": dict(settings or {}),
        "metrics": {name: asdict(estimate) for name, estimate in figures.metrics.items()},
        "recall_curves": {
            name: [{"k": k, **asdict(estimate)} for k, estimate in points.items()]
            for name, points in figures.recall_curves.items()
        },
        "calibration": None
        if figures.calibration_error is None
        else {
            "expected_calibration_error": asdict(figures.calibration_error),
            "bins": [asdict(b) for b in figures.reliability],
        },
        "risk_coverage": None
        if curve is None
        else {
            "aurc": asdict(curve.aurc),
            "best_aurc": curve.best_aurc,
            "risk": curve.risk,
            "points": [
                {"coverage": coverage, "threshold": threshold, "risk": r.value, "low": r.low, "high": r.high}
                for coverage, threshold, r in zip(curve.coverage, curve.thresholds, curve.risks, strict=True)
            ],
        },
        "seconds": figures.seconds,
        "comparison": None if comparison is None else {name: asdict(test) for name, test in comparison.items()},
    }


def metric_lines(figures: Figures) -> list[tuple[str, str, str, str]]:
    """Name, figure in percent, interval and number of questions of every metric, for tables."""
    rows = [_row(NAMES.get(name, name.replace("_", " ")), estimate) for name, estimate in figures.metrics.items()]
    if figures.calibration_error is not None:
        rows.append(_row("expected calibration error", figures.calibration_error))
    if figures.risk_coverage is not None:
        rows.append(_row("area under risk–coverage curve", figures.risk_coverage.aurc))
    return rows


def comparison_lines(comparison: Mapping[str, PairedTest]) -> list[tuple[str, str, str, str, str, str]]:
    """Name, difference in points, interval, wins and losses, p-value and test of every metric compared."""
    return [
        (
            NAMES.get(name, name.replace("_", " ")),
            f"{100 * test.difference.value:+.3f}",
            f"{100 * test.difference.low:+.1f} to {100 * test.difference.high:+.1f}",
            f"{test.better:,} / {test.worse:,}",
            "< 0.0001" if test.p_value < 1e-4 else f"{test.p_value:.4f}",
            test.test,
        )
        for name, test in comparison.items()
    ]


def report_as_markdown(
    figures: Figures,
    *,
    title: str,
    settings: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
    comparison: Mapping[str, PairedTest] | None = None,
    plots: Sequence[str] = (),
) -> str:
    """The report for people: tables of all figures, and the plots that there are."""
    parts = [f"# {title}", f"{figures.n:,} questions. Intervals are 95 % bootstrap intervals over questions."]
    parts += [f"- {remark}" for remark in remarks]
    parts.append(_table(("metric", "%", "95 % interval", "n"), metric_lines(figures)))
    if comparison is not None:
        head = ("second minus first", "points", "95 % interval", "better / worse", "p", "test")
        parts += ["## Comparison", _table(head, comparison_lines(comparison))]
    if figures.risk_coverage is not None:
        steps = _steps(figures.risk_coverage)
        parts += ["## Answering only when sure", _table(("least confidence", "% of answers given", "right %"), steps)]
    if figures.seconds:
        stages = [
            (stage, *(f"{1000 * value:,.0f}" for value in taken.values())) for stage, taken in figures.seconds.items()
        ]
        columns = ("milliseconds, share of a batch", *next(iter(figures.seconds.values())))
        parts += ["## Time", _ABOUT_TIME, _table(columns, stages)]
    parts += [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in plots]
    if settings:
        parts += ["## Settings", _table(("setting", "value"), [(k, str(v)) for k, v in settings.items()])]
    return "\n\n".join(parts) + "\n"


def write_report(
    folder: Path,
    figures: Figures,
    *,
    title: str,
    settings: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
    comparison: Mapping[str, PairedTest] | None = None,
) -> str | None:
    """Write report.json, report.md and the plots into a folder.

    Returns:
        What is missing for the plots, or None where they have been drawn.

    Raises:
        UsageError: The folder cannot be written to.
    """
    from realm.evaluation.plots import draw_plots

    missing, plots = None, []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            plots = [path.name for path in draw_plots(folder, figures)]
        except MissingExtraError as exc:
            missing = str(exc)
        everything: Any = {"settings": settings, "remarks": remarks, "comparison": comparison}
        write_json_atomically(folder / "report.json", report_as_json(figures, **everything))
        text = report_as_markdown(figures, title=title, plots=plots, **everything)
        (folder / "report.md").write_text(text, encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"{folder}: the report cannot be written: {exc.strerror or exc}") from exc
    return missing


def _row(name: str, estimate: Estimate) -> tuple[str, str, str, str]:
    interval = f"{100 * estimate.low:.1f} – {100 * estimate.high:.1f}"
    return name, f"{100 * estimate.value:.3f}", interval, f"{estimate.n:,}"


def _steps(curve: RiskCoverage) -> list[tuple[str, str, str]]:
    """Coverage and accuracy at round thresholds, as the curve's points give them."""
    rows = []
    for threshold in _SHOWN_THRESHOLDS:
        given = [p for p in zip(curve.coverage, curve.risks, curve.thresholds, strict=True) if p[2] >= threshold]
        if given:
            coverage, risk, _ = given[-1]
            rows.append((f"{threshold:.1f}", f"{100 * coverage:.0f}", f"{100 * (1 - risk.value):.1f}"))
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)
