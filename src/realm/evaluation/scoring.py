"""Files of predictions into judgements, with the references that stand in them or in a file of questions.

Needs no model and no torch. Read `judge_file` first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from realm.corpus.expressions import ExpressionMatcher, invalid_expressions
from realm.corpus.questions import AnswerType, read_questions
from realm.errors import SourceError
from realm.evaluation.judging import Judgement, judge
from realm.evaluation.predictions import Prediction, is_answer_file, read_answer_file, read_predictions
from realm.records import Question

Progress = Callable[[int], None]


@dataclass
class Judged:
    """The judgements of a file, and what was left out of them.

    Attributes:
        judgements: One a question that has references, in the order of the questions.
        unreferenced: Questions without references: nothing can be said of them.
        missing: Questions without prediction; they count as wrong.
        unknown: Predictions to no question of the question file; they do not count.
        problems: Questions that could not be asked; they count as wrong.
        given_up: Expressions that took too long to match; they count as not found.
        invalid: References that are no regular expressions and were to be; they count as not found.
    """

    judgements: list[Judgement] = field(default_factory=list)
    unreferenced: int = 0
    missing: int = 0
    unknown: int = 0
    problems: int = 0
    given_up: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()

    def remarks(self) -> list[str]:
        """What a reader of the figures must know, in lines."""
        found = {
            "questions have no reference and are left out": self.unreferenced,
            "questions have no prediction and count as wrong": self.missing,
            "predictions belong to no question and do not count": self.unknown,
            "questions could not be asked and count as wrong": self.problems,
            "regular expressions took too long and count as not found": len(self.given_up),
            "regular expressions are invalid and count as not found": len(self.invalid),
        }
        remarks = [f"{count:,} {what}" for what, count in found.items() if count]
        if self.invalid:
            remarks[-1] += f", such as {self.invalid[0]!r}"
        return remarks


def judge_file(
    path: Path,
    questions: Path | None = None,
    *,
    answer_type: AnswerType | None = None,
    progress: Progress | None = None,
) -> Judged:
    """Judge all predictions of a file.

    Args:
        path: Predictions as `realm evaluate` writes them, or SQuAD's `{id: answer}`.
        questions: A file of questions; its references are taken, and a question without prediction is wrong.
        answer_type: What references are where the question file does not say.
        progress: Told how many predictions have been judged, now and then.

    Raises:
        SourceError: A file is missing or damaged; answers come without questions; no prediction answers a
            question; or no question has a reference.
    """
    asked = None if questions is None else _references(questions, answer_type)
    judged, matcher = Judged(), ExpressionMatcher()
    invalid: set[str] = set()
    for number, prediction in enumerate(_with_references(path, asked, judged), 1):
        judged.problems += bool(prediction.problem)
        if prediction.answers:
            judged.judgements.append(judge(prediction, matcher))
        else:
            judged.unreferenced += 1
        if prediction.answer_type == "regex":
            invalid |= invalid_expressions(prediction.answers)
        if progress is not None and number % 1000 == 0:
            progress(number)
    judged.problems -= judged.missing  # counted on their own
    judged.given_up, judged.invalid = tuple(sorted(matcher.given_up)), tuple(sorted(invalid))
    if not judged.judgements:
        raise SourceError(
            f"{path}: no prediction has a reference to compare with. Give a file of them: --questions FILE"
        )
    return judged


def same_questions(first: Judged, second: Judged, names: tuple[Path, Path]) -> list[tuple[Judgement, Judgement]]:
    """The judgements of two files in pairs.

    Raises:
        SourceError: They do not judge the same questions; the message names one that is missing.
    """
    others = {judgement.id: judgement for judgement in second.judgements}
    ids = [judgement.id for judgement in first.judgements]
    for name, lacking in (
        (names[1], [i for i in ids if i not in others]),
        (names[0], sorted(others.keys() - set(ids))),
    ):
        if lacking:
            raise SourceError(
                f'{name}: {len(lacking):,} questions of the other file are missing, such as "{lacking[0]}". '
                f"Only answers to the same questions can be compared; --questions FILE counts missing ones as wrong"
            )
    return [(judgement, others[judgement.id]) for judgement in first.judgements]


def _references(path: Path, answer_type: AnswerType | None) -> dict[str, Question]:
    return {question.id: question for question in read_questions(path, answer_type=answer_type)}


def _with_references(path: Path, asked: dict[str, Question] | None, judged: Judged) -> Iterator[Prediction]:
    """The predictions with the references that count; then a wrong one for each question without."""
    if is_answer_file(path):
        if asked is None:
            raise SourceError(f"{path} holds answers alone. Give the questions with their references: --questions FILE")
        predictions = _of_answers(read_answer_file(path), asked, judged)
    else:
        predictions = read_predictions(path)
    if asked is None:
        yield from predictions
        return
    answered = set()
    for prediction in predictions:
        question = asked.get(prediction.id)
        if question is None:
            judged.unknown += 1
            continue
        answered.add(prediction.id)
        yield _with_answers_of(question, prediction)
    if not answered:
        raise SourceError(f"{path}: none of its {judged.unknown:,} predictions is to a question of the given file")
    judged.missing = len(asked) - len(answered)
    for question in asked.values():
        if question.id not in answered:
            kind = question.answer_type
            yield Prediction(question.id, question.text, question.answers, kind, None, problem="there is no prediction")


def _of_answers(answers: dict[str, str], asked: dict[str, Question], judged: Judged) -> Iterator[Prediction]:
    for key, answer in answers.items():
        question = asked.get(key)
        if question is None:
            judged.unknown += 1
        else:
            yield Prediction(key, question.text, question.answers, question.answer_type, answer or None)


def _with_answers_of(question: Question, prediction: Prediction) -> Prediction:
    """The prediction with other references; what was noted about its evidence no longer holds for them."""
    if (question.answers, question.answer_type) == (prediction.answers, prediction.answer_type):
        return prediction
    evidence = tuple(replace(block, has_answer=None) for block in prediction.evidence)
    return replace(prediction, answers=question.answers, answer_type=question.answer_type, evidence=evidence)
