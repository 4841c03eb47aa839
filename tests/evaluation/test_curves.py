"""Pictures of learning, looked into with matplotlib itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from realm.errors import UsageError
from realm.evaluation import curves

FIGURES = {
    "loss": {"runs/a": [(0, 3.0), (10, 2.0)], "runs/b": [(0, 3.5)]},
    "dev_recall_5": {"runs/b": [(0, 0.1), (10, 0.4)]},
    "step_time": {"runs/a": [(step, 1.0) for step in range(100)]},
}


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The figure that was saved, and the file."""
    from matplotlib.figure import Figure

    saved = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *given, **named: saved.append(self) or save(self, *given, **named)
    )
    path = curves.draw_curves(tmp_path / "curves.png", FIGURES)
    assert path.read_bytes().startswith(b"\x89PNG")
    return saved[0]


def test_every_figure_has_a_panel_with_the_points_of_its_runs(drawn: Any) -> None:
    panels = [panel for panel in drawn.axes if panel.get_visible()]
    assert [panel.get_title(loc="left") for panel in panels] == list(FIGURES)
    for panel, series in zip(panels, FIGURES.values(), strict=True):
        lines = [[tuple(point) for point in line.get_xydata()] for line in panel.lines]
        assert lines == [[tuple(map(float, point)) for point in points] for points in series.values()]


@pytest.mark.parametrize(
    ("name", "problem"),
    [("c.txt", "name that ends in .png"), ("c", "name that ends in .png"), ("no/c.png", "cannot be written: No such")],
)
def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        curves.draw_curves(tmp_path / name, FIGURES)
    assert not list(tmp_path.iterdir())


def test_a_run_looks_the_same_in_all_panels_and_is_named(drawn: Any) -> None:
    loss, recall, time = drawn.axes[:3]
    assert recall.lines[0].get_color() == loss.lines[1].get_color() != loss.lines[0].get_color()
    assert time.lines[0].get_color() == loss.lines[0].get_color()
    assert [text.get_text() for text in drawn.legends[0].texts] == ["runs/a", "runs/b"]
