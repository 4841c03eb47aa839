"""Predictions and answers for the tests of this room."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from realm.evaluation.predictions import Prediction, RankedBlock, prediction_line
from realm.records import Answer, Evidence


def block(number: int = 0, **more: Any) -> RankedBlock:
    return RankedBlock(f"document/{number}", f"Title {number}", f"block-{number}", 10.0 - number, **more)


def prediction(
    key: str = "q", said: str | None = "Eliot", answers: Sequence[str] = ("Eliot",), **more: Any
) -> Prediction:
    return Prediction(
        **{"id": key, "question": "Who?", "answers": tuple(answers), "answer_type": "string", **more}, prediction=said
    )


def write_predictions(path: Path, *predictions: Prediction) -> Path:
    path.write_text("".join(map(prediction_line, predictions)), encoding="utf-8")
    return path


def evidence(text: str, number: int = 0, **more: Any) -> Evidence:
    return Evidence(f"Title {number}", f"document/{number}", 1, f"block-{number}", text, 0, 5.0 - number, 0.5, **more)


def answer(question: str, text: str | None, *blocks: str, confidence: float = 0.5) -> Answer:
    found = tuple(evidence(block, number) for number, block in enumerate(blocks))
    return Answer(question, text, confidence, found, {"embed": 0.25, "read": 0.5})
