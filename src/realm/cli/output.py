"""What the commands print: progress on standard error, answers for people or as one JSON object."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from realm.corpus.skips import SkipReport
    from realm.openqa.estimate import Estimate
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


def print_estimate(estimate: Estimate) -> None:
    """What a long run will take; nothing for a short one."""
    if estimate.is_worth_telling:
        stderr.print(estimate.summary())


def print_skipped(skipped: SkipReport | None) -> None:
    """How many records were left out for which reason, with an example of each; nothing if none were."""
    if skipped is not None and skipped.total:
        stderr.print(skipped.summary())
        for example in skipped.examples.values():
            stderr.print(f"  first: {example}")


def print_json(value: Any) -> None:
    """One JSON object on standard output and nothing else.

    Raises:
        ValueError: A number is NaN or infinite, which JSON does not know.
    """
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """In columns as wide as they must be, whatever the width of the terminal; figures to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        first, *others = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        stdout.print("  ".join([first.strip().ljust(widths[0]), *others]))


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
        stdout.print(Text.assemble((one_line(answer.text), "bold green"), f"   (confidence {answer.confidence:.0%})"))
    for evidence in sorted(answer.evidence, key=lambda e: e.start is None):
        place = "" if evidence.start is None else f" [{evidence.start}:{evidence.end}]"
        stdout.print(Text(f"  {_heading(evidence, place)}", style="cyan"))
        stdout.print(Text("    ").append_text(_excerpt(evidence)))


def print_passages(found: Sequence[Evidence]) -> None:
    """Each passage in full, below its place in its document, its scores and where the document came from."""
    for evidence in found:
        place = f" [{evidence.block_start}:{evidence.block_start + len(evidence.text)}]"
        source = f"   {evidence.source}" if evidence.source else ""
        stdout.print(Text(_heading(evidence, place) + one_line(source), style="cyan"))
        stdout.print(Text(f"  {one_line(evidence.text)}"))


def _heading(evidence: Evidence, place: str) -> str:
    title = "" if evidence.title in ("", evidence.document_id) else f"{evidence.title} — "
    words = f", words {evidence.lexical_score:.1f}" if evidence.lexical_score else ""
    return one_line(f"{title}{evidence.document_id}{place}   score {evidence.score:.1f}{words}")


def _excerpt(evidence: Evidence) -> Text:
    """The passage around the answer with the answer marked, or the passage's beginning, in one line."""
    if evidence.start is None or evidence.end is None:
        shown = evidence.text[:_CONTEXT_CHARACTERS]
        return Text(one_line(shown) + ("…" if len(evidence.text) > len(shown) else ""), style="dim")
    start, end = evidence.start - evidence.block_start, evidence.end - evidence.block_start
    before = evidence.text[max(0, start - _CONTEXT_CHARACTERS) : start]
    after = evidence.text[end : end + _CONTEXT_CHARACTERS]
    return Text.assemble(
        "…" if start > _CONTEXT_CHARACTERS else "", one_line(before),
        (one_line(evidence.text[start:end]), "bold reverse"),
        one_line(after), "…" if end + _CONTEXT_CHARACTERS < len(evidence.text) else "",
    )  # fmt: skip


def one_line(text: str) -> str:
    """Without line breaks, and without the control characters by which a document could steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def printable(text: str) -> str:
    """Like `one_line`, but in the lines it has."""
    return "\n".join(map(one_line, text.split("\n")))
