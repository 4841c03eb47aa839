"""`realm calibrate`: how sure a model may be of its answers, learned from questions with answers."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from realm.cli.options import JsonOption, KbOption, ModelOption
from realm.cli.output import print_json, progress_bar, stdout


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(calibrate)


def calibrate(
    questions: Annotated[Path, typer.Argument(help="Questions with answers nobody trained on; formats as evaluate.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for calibration.json: the model's own.")],
    kb: KbOption = Path("kb"),
    model: ModelOption = None,
    top: Annotated[int, typer.Option(min=1, help="How many passages to read.")] = 5,
    sample: Annotated[int | None, typer.Option(min=1, help="Ask only so many, drawn at random.")] = None,
    json: JsonOption = False,
) -> None:
    """Learn how sure to be of answers, and below which confidence to say that there is none.

    Every question is also asked with the passages hidden that hold its answers. Half of the questions is learned
    from, the other half measured on. What was asked is kept in the folder: a run that was cut short goes on.
    """
    from realm.artifacts import sha256_of_file
    from realm.corpus.questions import read_reference_questions
    from realm.evaluation.asking import identity
    from realm.evaluation.calibrating import fit_confidence, measure_confidence
    from realm.evaluation.calibration_cases import collect_cases, kept_cases
    from realm.evaluation.predicting import claim_folder
    from realm.openqa.ask import OpenQA, Searching
    from realm.openqa.calibration import Calibration, Signs

    references = list(read_reference_questions(questions))
    if sample is not None and sample < len(references):
        references = random.Random(0).sample(references, sample)
    qa = OpenQA.load(kb, model)
    measured: dict[str, Any] = {
        "questions": questions.name, "questions_sha256": sha256_of_file(questions), "asked": len(references),
        "top": top, "blocks": qa.knowledge_base.live_blocks,
    }  # fmt: skip
    settings = {**measured, **identity(qa)}
    searches = {"vectors": Searching(hybrid=False), "words": Searching(hybrid=True)}
    with (
        claim_folder(out, settings, "cases.jsonl") as path,
        progress_bar("asking", "questions", len(references)) as (bar, task),
    ):
        begin, kept = time.monotonic(), kept_cases(path, searches)

        def report(done: int) -> None:
            bar.update(task, completed=done, rate=(done - kept) / (time.monotonic() - begin))

        cases = collect_cases(qa, references, searches, top, path, progress=report)
    fitted = {}
    for name, own in cases.items():
        signs = [sign for sign in Signs._fields if name == "words" or sign != "standing"]
        fitted[name] = fit_confidence([case for case in own if not case.is_test], signs)
        measured[name] = measure_confidence(fitted[name], [case for case in own if case.is_test])
    Calibration(qa.model.reader_sha256, fitted["vectors"], fitted["words"], measured).save(out)
    if json:
        print_json(measured)
        return
    for name, figures in fitted.items():
        found = measured[name]
        stdout.print(
            f"{name}: calibration error {found['ece']:.3f}; at {figures.threshold:.0%}, {found['kept']:.0%} of "
            f"{found['right']:.0f} right answers are given and {found['refused']:.0%} of {found['hidden']:.0f} "
            "questions without their passages are refused"
        )
    stdout.print(f"{out / 'calibration.json'} written")
