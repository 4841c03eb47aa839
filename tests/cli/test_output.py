"""How answers and progress look, and the demo that shows them."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import Run
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from realm.cli import demo, output
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.records import Answer, Evidence

CONTEXT = 160


def evidence(text: str, place: tuple[int, int] | None = None, block_start: int = 0, title: str = "Wolf") -> Evidence:
    start, end = (None, None) if place is None else (block_start + place[0], block_start + place[1])
    return Evidence(title, "doc/1", 1, "block", text, block_start, 1.25, 0.5, start, end)


@given(st.text("ab\n é", max_size=600), st.data())
def test_an_excerpt_is_the_passage_around_its_answer_in_one_line(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    shown = output._excerpt(evidence(text, (start, end), block_start=1000))
    left, right = max(0, start - CONTEXT), min(len(text), end + CONTEXT)
    expected = ("…" if left else "") + text[left:right].replace("\n", " ") + ("…" if right < len(text) else "")
    assert shown.plain == expected
    marked = [shown.plain[span.start : span.end] for span in shown.spans if "reverse" in str(span.style)]
    assert marked == ([text[start:end].replace("\n", " ")] if start < end else [])


def test_evidence_without_the_answer_is_shown_from_its_beginning() -> None:
    assert output._excerpt(evidence("one\ntwo")).plain == "one two"
    assert output._excerpt(evidence("x" * 200)).plain == "x" * CONTEXT + "…"


def test_the_answering_evidence_is_shown_first(capsys: pytest.CaptureFixture[str]) -> None:
    pieces = (evidence("first"), evidence("the answer is here", (4, 10), 30, title=""))
    output.print_answer(Answer("what?", "answer", 0.456, pieces))
    assert capsys.readouterr().out.splitlines() == [
        "answer   (confidence 46%)",
        "  doc/1 [34:40]   score 1.2",
        "    the answer is here",
        "  Wolf — doc/1   score 1.2",
        "    first",
    ]


def test_a_bar_shows_rate_and_remaining_time_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(output, "stderr", Console(file=terminal, force_terminal=True, width=100))
    with output.progress_bar("indexing", "blocks", total=4) as (bar, task):
        bar.update(task, completed=3, rate=1234.56)
    assert re.search(r"indexing.*75%.*1,234\.6 blocks/s.*(-:--:--|0:00:\d\d)", terminal.getvalue())


@pytest.mark.parametrize("is_terminal", [True, False])
def test_an_error_takes_the_bar_away(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(output, "stderr", Console(file=shown, force_terminal=is_terminal, width=100))
    with pytest.raises(KeyError), output.progress_bar("indexing", "blocks"):
        raise KeyError
    if is_terminal:
        assert "\x1b[2K" in shown.getvalue()  # the line is erased
        assert shown.getvalue().endswith("\x1b[2K")
    else:
        assert shown.getvalue() == ""


def test_the_demo_indexes_asks_and_counts_right_answers(
    realm: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "ModelFolder", SimpleNamespace(open=lambda: ModelFolder.open(str(model))))
    said = realm("demo", "--kb", tmp_path / "kb")
    assert said.code == 0
    added = re.search(r"version 1, (\d+) documents added", said.out)
    assert added is not None
    assert int(added[1]) == KnowledgeBase.open(tmp_path / "kb").manifest.documents >= 120
    verdicts = re.findall(r"\?   (right|wrong|not answered)$", said.out, re.MULTILINE)
    assert len(verdicts) == 8
    last = said.out.splitlines()[-1]
    right, wrong, withheld = (verdicts.count(verdict) for verdict in ("right", "wrong", "not answered"))
    assert re.fullmatch(
        rf"{right} of 8 answers are right, {wrong} wrong, {withheld} withheld for want of confidence\. "
        r"Indexing took [\d.]+ s, answering [\d.]+ s\.",
        last,
    )
    assert (said.out.count("no answer") > 0) == (withheld > 0)
    monkeypatch.setattr(demo.tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    assert realm("demo").code == 0
    assert list((tmp_path / "scratch").iterdir()) == []
