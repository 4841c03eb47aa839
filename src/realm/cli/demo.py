"""What `realm demo` does, step by step."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from importlib import resources
from pathlib import Path

from rich.text import Text

from realm.cli.knowledge import index_with_progress, print_index_report
from realm.cli.output import print_answer, stdout
from realm.corpus.questions import read_questions
from realm.openqa.ask import OpenQA
from realm.openqa.model_folder import ModelFolder


def run_demo(kb: Path | None) -> None:
    """Index the built-in documents, ask the built-in questions, and print answers and times."""
    begin = time.perf_counter()
    model = ModelFolder.open()
    with tempfile.TemporaryDirectory() if kb is None else nullcontext(str(kb)) as place:
        with resources.as_file(resources.files("realm.demo")) as data:
            folder = Path(place) / "kb" if kb is None else kb
            report = index_with_progress(folder, [data / "documents.jsonl"], model, skip_bad=False)
            questions = list(read_questions(data / "questions.jsonl"))
        print_index_report(report, folder)
        indexed = time.perf_counter()
        qa = OpenQA.load(folder)
        verdicts: Counter[str] = Counter()
        for question in questions:
            answer = qa.ask(question.text)
            verdict = _verdict(answer.text, question.answers)
            verdicts[verdict] += 1
            stdout.print(Text.assemble("\n", (question.text, "bold"), f"   {verdict}"))
            print_answer(answer)
            stdout.print("  " + ", ".join(f"{stage} {1000 * s:.0f} ms" for stage, s in answer.seconds.items()))
    done = time.perf_counter()
    stdout.print(
        f"\n{verdicts['right']} of {len(questions)} answers are right, {verdicts['wrong']} wrong, "
        f"{verdicts['not answered']} withheld for want of confidence. "
        f"Indexing took {indexed - begin:.1f} s, answering {done - indexed:.1f} s."
    )


def _verdict(answer: str | None, accepted: tuple[str, ...]) -> str:
    from realm.evaluation.exact_match import exact_match

    if answer is None:
        return "not answered"
    return "right" if exact_match(answer, accepted) else "wrong"
