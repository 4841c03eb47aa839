"""The report's files: figures that agree with each other, and plots where matplotlib is."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest
from predicted import block, prediction

from realm.corpus.expressions import ExpressionMatcher
from realm.evaluation.figures import Figures, compare_systems, figures_of
from realm.evaluation.judging import Judgement, judge
from realm.evaluation.report import report_as_json, report_as_markdown, write_report


def judgements(shift: int = 0) -> list[Judgement]:
    matcher = ExpressionMatcher()
    found = []
    for n in range(40):
        evidence = tuple(block(k, has_answer=k > (n + shift) % 7, is_gold=k == n % 9) for k in range(20))
        said = "Eliot" if (n + shift) % 3 else "George Eliot"
        asked = prediction(str(n), said, confidence=n / 40, evidence=evidence, read=5, seconds={"read": n / 10})
        found.append(judge(asked, matcher))
    return found


@pytest.fixture
def figures() -> Figures:
    return figures_of(judgements())


def test_json_holds_every_figure(figures: Figures) -> None:
    comparison = compare_systems(list(zip(judgements(), judgements(1), strict=True)))
    found = json.loads(json.dumps(report_as_json(figures, settings={"top": 5}, remarks=["a"], comparison=comparison)))
    assert found["questions"] == 40
    assert {name: (m["value"], m["n"]) for name, m in found["metrics"].items()} == {
        name: (e.value, e.n) for name, e in figures.metrics.items()
    }
    assert sum(b["n"] for b in found["calibration"]["bins"]) == 40
    assert [point["coverage"] for point in found["risk_coverage"]["points"]][-1] == 1.0
    assert found["seconds"]["total"]["p50"] == pytest.approx(1.95)
    assert found["comparison"]["official_exact_match"]["test"] == "McNemar, exact"
    assert (found["settings"], found["remarks"]) == ({"top": 5}, ["a"])


def test_report_without_confidence_times_and_evidence_has_no_such_parts() -> None:
    plain = figures_of([judge(prediction(), ExpressionMatcher())])
    found = report_as_json(plain)
    assert (found["calibration"], found["risk_coverage"], found["seconds"], found["recall_curves"]) == (
        None,
        None,
        {},
        {},
    )
    text = report_as_markdown(plain, title="One question")
    assert text.startswith("# One question\n\n1 questions.")
    assert "##" not in text


def test_markdown_shows_percent_to_three_digits_and_thresholds(figures: Figures) -> None:
    text = report_as_markdown(figures, title="T", remarks=["mind | this"], plots=["recall.png"])
    metric = figures.metrics["official_exact_match"]
    shown = f"| exact match (ORQA) | {100 * metric.value:.3f} | {100 * metric.low:.1f} – {100 * metric.high:.1f} | 40 |"
    assert shown in text
    assert "![recall](recall.png)" in text
    assert "| milliseconds, share of a batch | mean | p50 | p90 | p95 | p99 |" in text
    assert "`realm evaluate --batch 1`" in text
    right = sum(j.official for j in judgements() if (j.confidence or 0) >= 0.5)
    assert f"| 0.5 | 50 | {100 * right / 20:.1f} |" in text
    assert "| least confidence | % of answers given | right % |" in text
    for table in text.split("\n\n"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({row.replace("\\|", "").count("|") for row in rows}) <= 1


def test_report_folder_has_plots_of_print_size(figures: Figures, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert write_report(tmp_path / "r", figures, title="T") is None
    names = sorted(path.name for path in (tmp_path / "r").iterdir())
    assert names == ["recall.png", "reliability.png", "report.json", "report.md", "risk_coverage.png"]
    for name in names:
        if name.endswith(".png"):
            head = (tmp_path / "r" / name).read_bytes()[:24]
            assert head[:8] == b"\x89PNG\r\n\x1a\n"
            assert struct.unpack(">II", head[16:]) == (1040, 780)
            assert f"]({name})" in (tmp_path / "r" / "report.md").read_text()
    assert "matplotlib.pyplot" not in sys.modules  # no window system, no global state


def test_report_without_matplotlib_says_what_is_missing(
    figures: Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    missing = write_report(tmp_path, figures, title="T")
    assert missing is not None
    assert "pip install 'realm-lm[evaluate]'" in missing
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]
