"""`realm evaluate`, `realm score` (no torch needed) and `realm evaluate-beir`: how good answers and retrieval are."""

from __future__ import annotations

import random
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realm.cli.options import DiscardOption, HybridOption, JsonOption, KbOption, ModelOption, WeightOption, WhereOption
from realm.cli.output import print_estimate, print_json, print_skipped, print_table, progress_bar, stderr, stdout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from realm.corpus.questions import AnswerType, ReferenceQuestion
    from realm.evaluation.beir import RetrievalCollection
    from realm.evaluation.scoring import Judged
    from realm.evaluation.significance import PairedTest
    from realm.openqa.ask import OpenQA, Searching
    from realm.openqa.index_report import IndexReport
    from realm.openqa.model_folder import ModelFolder
    from realm.records import Answer

RegexOption = Annotated[
    bool, typer.Option("--regex", help="Answers are regular expressions where a file does not say.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the report; a run that was stopped goes on in it.")]


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(evaluate)
    app.command()(score)
    app.command("evaluate-beir")(evaluate_beir)


def evaluate(
    questions: Annotated[Path, typer.Argument(help="JSON lines, SQuAD JSON, NQ-open, or DPR's csv and tsv.")],
    out: OutOption,
    kb: KbOption = Path("kb"),
    model: ModelOption = None,
    top: Annotated[int, typer.Option(min=1, help="How many passages to read.")] = 5,
    retrieve: Annotated[int, typer.Option(min=1, help="How many passages to measure recall on.")] = 100,
    min_confidence: Annotated[float, typer.Option(min=0.0, max=1.0, help="Below it: no answer.")] = 0.0,
    where: WhereOption = None,
    hybrid: HybridOption = None,
    weight: WeightOption = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Ask only so many, drawn at random, always the same.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Questions asked together; 1 measures how long one takes.")] = 16,
    regex: RegexOption = False,
    json: JsonOption = False,
) -> None:
    """Ask all questions of a file and say how good the answers are: predictions, figures and plots in one folder.

    A run that was stopped goes on where it was, with the same line.
    """
    from realm.artifacts import sha256_of_file
    from realm.evaluation.asking import identity
    from realm.evaluation.predicting import claim_folder
    from realm.evaluation.scoring import judge_file
    from realm.openqa.ask import OpenQA, Searching
    from realm.openqa.calibration import CALIBRATION_FILE

    asked = _read(questions, sample, regex)
    qa, searching = OpenQA.load(kb, model), Searching(where, hybrid, weight)
    calibration = qa.model.folder / CALIBRATION_FILE
    settings = {
        "questions": questions.name,
        "questions_sha256": sha256_of_file(questions),
        "asked": len(asked),
        "regex": regex,
        **identity(qa),
        "calibration_sha256": sha256_of_file(calibration) if calibration.exists() else None,
        "top": top,
        "retrieve": max(top, retrieve),
        "min_confidence": min_confidence,
        **asdict(searching),
    }

    def ask(texts: Sequence[str]) -> list[Answer]:
        return qa.ask_many(texts, top=top, retrieve=retrieve, min_confidence=min_confidence, searching=searching)

    with claim_folder(out, settings) as path:
        _predict(ask, asked, path, top, batch)
        if any(reference.question.answers for reference in asked):
            _report(judge_file(path), out, f"{questions.name} on {kb.name}", settings, None, json)
        elif json:
            print_json({"predictions": str(path), "questions": len(asked), "metrics": {}})
        else:
            why = "The questions have no references: there is nothing to score"
            stdout.print(f"{path}: {len(asked):,} predictions. {why}")


def score(
    predictions: Annotated[Path, typer.Argument(help="predictions.jsonl, or SQuAD's JSON of answers by question id.")],
    questions: Annotated[
        Path | None, typer.Option("--questions", help="References to take; a question without prediction is wrong.")
    ] = None,
    compare: Annotated[Path | None, typer.Option("--compare", help="Predictions of another system.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report.json, report.md and plots.")] = None,
    regex: RegexOption = False,
    json: JsonOption = False,
) -> None:
    """Say how good predictions are, and whether another system's are better. Needs no model."""
    from realm.evaluation.figures import compare_systems
    from realm.evaluation.scoring import judge_file, same_questions

    kind: AnswerType | None = "regex" if regex else None
    judged = judge_file(predictions, questions, answer_type=kind)
    comparison = None
    if compare is not None:
        other = judge_file(compare, questions, answer_type=kind)
        comparison = compare_systems(same_questions(judged, other, (predictions, compare)))
    settings = {
        "predictions": str(predictions),
        **({} if questions is None else {"questions": str(questions)}),
        **({} if compare is None else {"compared with": str(compare)}),
    }
    _report(judged, out, predictions.name, settings, comparison, json)


def evaluate_beir(
    collection: Annotated[Path, typer.Argument(help="Folder with corpus.jsonl, queries.jsonl and qrels.")],
    kb: KbOption,
    split: Annotated[str, typer.Option(help="Which judgements to take.")] = "test",
    model: Annotated[str | None, typer.Option(help="Model folder; default: realm-mini.")] = None,
    hybrid: HybridOption = None,
    weight: WeightOption = None,
    batch: Annotated[int, typer.Option(min=1, help="Queries searched together.")] = 32,
    discard_pending: DiscardOption = False,
    json: JsonOption = False,
) -> None:
    """Index a collection in BEIR's layout, unless that is done already, search all queries and score the rankings.

    The knowledge base holds nothing else. A run that was stopped is gone on with by the same line.
    """
    from realm.cli.knowledge import print_index_report
    from realm.evaluation.beir import DEPTH, read_collection, score_rankings
    from realm.extras import require
    from realm.openqa.ask import OpenQA, Searching
    from realm.openqa.model_folder import ModelFolder

    require("ir_measures", "evaluate")
    found = read_collection(collection, split)
    report = _index(kb, found, ModelFolder.open(model), discard_pending)
    if json:
        print_skipped(report.skipped)
    else:
        print_index_report(report, kb)
    figures = score_rankings(
        _rank(OpenQA.load(kb), found.queries, DEPTH, Searching(None, hybrid, weight), batch), found.grades
    )
    if json:
        print_json({name: asdict(estimate) for name, estimate in figures.items()})
        return
    rows = [(name, f"{e.value:.4f}", f"{e.low:.3f} – {e.high:.3f}", f"{e.n:,}") for name, e in figures.items()]
    print_table(("measure", "value", "95 % interval", "queries"), rows)


def _read(path: Path, sample: int | None, regex: bool) -> list[ReferenceQuestion]:
    from realm.corpus.questions import read_reference_questions

    found = list(read_reference_questions(path, answer_type="regex" if regex else None))
    if sample is None or sample >= len(found):
        return found
    chosen = sorted(random.Random(0).sample(range(len(found)), sample))
    return [found[place] for place in chosen]


def _predict(
    ask: Callable[[Sequence[str]], list[Answer]], asked: Sequence[ReferenceQuestion], path: Path, read: int, batch: int
) -> None:
    """Predict with a bar on standard error."""
    from realm.evaluation.predicting import predict

    begin = time.monotonic()
    with progress_bar("asking", "questions", len(asked)) as (bar, task):

        def show(done: int, open_questions: int) -> None:
            before = len(asked) - open_questions
            bar.update(task, completed=before + done, rate=done / (time.monotonic() - begin))

        predict(asked, ask, path, read=read, batch=batch, progress=show)
        bar.update(task, completed=len(asked))


def _index(kb: Path, collection: RetrievalCollection, model: ModelFolder, discard_pending: bool) -> IndexReport:
    from realm.evaluation.beir_index import index_collection

    with progress_bar("indexing", "blocks") as (bar, task):

        def show(report: IndexReport) -> None:
            done, total = (report.embedded, report.late) if report.late else (report.characters_seen, report.characters)
            rate = report.embedded / report.seconds if report.embedded else None
            if report.estimate is not None and bar.tasks[task].total != total:
                print_estimate(report.estimate)
            bar.update(task, completed=done, total=total, rate=rate)

        return index_collection(kb, collection, model, discard_pending=discard_pending, progress=show)


def _rank(
    qa: OpenQA, queries: Mapping[str, str], k: int, searching: Searching, batch: int
) -> dict[str, dict[str, float]]:
    from realm.evaluation.asking import rank_documents

    ids = list(queries)
    rankings: dict[str, dict[str, float]] = {}
    begin = time.monotonic()
    with progress_bar("searching", "queries", len(ids)) as (bar, task):
        for group in (ids[start : start + batch] for start in range(0, len(ids), batch)):
            rankings |= dict(zip(group, rank_documents(qa, [queries[key] for key in group], k, searching), strict=True))
            bar.update(task, completed=len(rankings), rate=len(rankings) / (time.monotonic() - begin))
    return rankings


def _report(
    judged: Judged,
    out: Path | None,
    title: str,
    settings: Mapping[str, Any],
    comparison: Mapping[str, PairedTest] | None,
    json: bool,
) -> None:
    """Print the figures; write them where there is a folder."""
    from realm.evaluation.figures import figures_of
    from realm.evaluation.report import comparison_lines, metric_lines, report_as_json, write_report

    figures = figures_of(judged.judgements)
    about: Any = {"settings": settings, "remarks": judged.remarks(), "comparison": comparison}
    missing = None if out is None else write_report(out, figures, title=title, **about)
    if missing:
        stderr.print(f"no plots: {missing}")
    if json:
        print_json(report_as_json(figures, **about))
        return
    for remark in judged.remarks():
        stderr.print(remark)
    print_table(("metric", "%", "95 % interval", "n"), metric_lines(figures))
    if comparison is not None:
        head = ("second minus first", "points", "95 % interval", "better / worse", "p", "test")
        print_table(head, comparison_lines(comparison))
    if out is not None:
        stdout.print(f"report: {out / 'report.md'}")
