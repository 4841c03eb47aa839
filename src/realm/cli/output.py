"""What the commands print: progress on standard error, answers for people or as one JSON object."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from realm.records import Answer, Evidence

# No markup: paths, titles and messages may hold square brackets and colons.
stdout = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
stderr = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

_CONTEXT_CHARACTERS = 160


class RateColumn(ProgressColumn):
    """How many units a second the task has done, as it says in its fields `rate` and `unit`."""

    def render(self, task: Task) -> Text:
        rate = task.fields.get("rate")
        return Text("" if not rate else f"{rate:,.1f} {task.fields.get('unit', '')}/s")


@contextmanager
def progress_bar(description: str, unit: str, total: float | None = None) -> Iterator[tuple[Progress, Any]]:
    """A bar on standard error with rate and remaining time; gives the bar and its task. An error takes it away."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
        RateColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=stderr) as bar:
        try:
            yield bar, bar.add_task(description, total=total, unit=unit, rate=None)
        except BaseException:
            bar.live.transient = True
            bar.live.stop()
            bar.disable = True  # or else stopping it would print an empty line
            raise


def print_json(value: Any) -> None:
    """One JSON object on standard output and nothing else."""
    print(json.dumps(value, ensure_ascii=False))


def answer_as_json(answer: Answer) -> dict[str, Any]:
    """The documented shape of `realm ask --json`."""
    values = dataclasses.asdict(answer)
    values["answer"] = values.pop("text")
    values["evidence"] = list(values["evidence"])
    return values


def print_answer(answer: Answer) -> None:
    """Answer and confidence, the answering passage with the answer marked, then the other evidence."""
    if answer.text is None:
        stdout.print(Text.assemble(("no answer", "bold"), f"   (confidence {answer.confidence:.0%})"))
    else:
        stdout.print(Text.assemble((_one_line(answer.text), "bold green"), f"   (confidence {answer.confidence:.0%})"))
    for evidence in sorted(answer.evidence, key=lambda e: e.start is None):
        place = "" if evidence.start is None else f" [{evidence.start}:{evidence.end}]"
        words = f", words {evidence.lexical_score:.1f}" if evidence.lexical_score else ""
        head = f"  {evidence.title or evidence.document_id}{place}   score {evidence.score:.1f}{words}"
        stdout.print(Text(_one_line(head), style="cyan"))
        stdout.print(Text("    ").append_text(_excerpt(evidence)))


def _excerpt(evidence: Evidence) -> Text:
    """The passage around the answer with the answer marked, or the passage's beginning, in one line."""
    if evidence.start is None or evidence.end is None:
        shown = evidence.text[:_CONTEXT_CHARACTERS]
        return Text(_one_line(shown) + ("…" if len(evidence.text) > len(shown) else ""), style="dim")
    start, end = evidence.start - evidence.block_start, evidence.end - evidence.block_start
    before = evidence.text[max(0, start - _CONTEXT_CHARACTERS) : start]
    after = evidence.text[end : end + _CONTEXT_CHARACTERS]
    return Text.assemble(
        "…" if start > _CONTEXT_CHARACTERS else "", _one_line(before),
        (_one_line(evidence.text[start:end]), "bold reverse"),
        _one_line(after), "…" if end + _CONTEXT_CHARACTERS < len(evidence.text) else "",
    )  # fmt: skip


def _one_line(text: str) -> str:
    """Without line breaks, and without the control characters by which a document could steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
