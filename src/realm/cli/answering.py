"""`realm ask`, `realm search` and `realm demo`: questions in, answers or passages out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from realm.cli.options import HybridOption, JsonOption, KbOption, ModelOption, WeightOption, WhereOption
from realm.cli.output import answer_as_json, print_answer, print_json, print_passages, stderr


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(ask)
    app.command()(search)
    app.command()(demo)


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    kb: KbOption = Path("kb"),
    model: ModelOption = None,
    top: Annotated[int, typer.Option(min=1, help="How many passages to read and show.")] = 5,
    min_confidence: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Below it: no answer; as the model was calibrated unless given."),
    ] = None,
    where: WhereOption = None,
    hybrid: HybridOption = None,
    weight: WeightOption = None,
    json: JsonOption = False,
) -> None:
    """Answer a question from a knowledge base."""
    from realm.openqa.ask import OpenQA, Searching

    searching = Searching(where, hybrid, weight)
    answer = OpenQA.load(kb, model).ask(question, top=top, min_confidence=min_confidence, searching=searching)
    if json:
        print_json(answer_as_json(answer))
        return
    print_answer(answer)
    if answer.note:
        stderr.print(answer.note)


def search(
    question: Annotated[str, typer.Argument(help="What the passages should be about.")],
    kb: KbOption = Path("kb"),
    model: ModelOption = None,
    top: Annotated[int, typer.Option(min=1, help="How many passages to show.")] = 5,
    where: WhereOption = None,
    hybrid: HybridOption = None,
    weight: WeightOption = None,
    json: JsonOption = False,
) -> None:
    """Find the passages that have most to do with a question, best first, without answering it."""
    from realm.openqa.ask import OpenQA, Searching

    qa = OpenQA.load(kb, model)
    [found] = qa.find([question], top, Searching(where, hybrid, weight))
    evidence = qa.evidence_of(found)
    if json:
        print_json(
            {
                "question": question,
                "version": qa.knowledge_base.manifest.version,
                "evidence": list(map(asdict, evidence)),
                "seconds": dict(found.seconds),
                "note": found.note,
            }
        )
        return
    print_passages(evidence)
    if found.note:
        stderr.print(found.note)


def demo(
    kb: Annotated[Path | None, typer.Option(help="Keep the demo's knowledge base here.")] = None,
) -> None:
    """The whole story on built-in documents: index them, ask eight questions, see the answers and the time taken."""
    from realm.cli.demo import run_demo

    run_demo(kb)
