"""Published systems' predictions get their published scores. Skipped where the data is not beside the checkout."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import zstandard

from realm.corpus.questions import read_reading_examples
from realm.evaluation.exact_match import exact_match, token_f1

DATA = Path(__file__).parents[3] / "shared" / "data"
SYSTEMS = ("bert_ensemble", "logistic_regression", "match_lstm", "r_net_plus", "slqa_plus")

pytestmark = pytest.mark.skipif(
    not (DATA / "predictions").is_dir(), reason="no published predictions in ../shared/data/predictions"
)


@cache
def references() -> dict[str, tuple[str, ...]]:
    examples = read_reading_examples(DATA / "reading" / "squad_dev_part.jsonl.zst")
    return {example.question.id: example.question.answers for example in examples}


def load_json(path: Path) -> Any:
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    return json.loads(data)


def test_every_system_with_expected_scores_is_scored() -> None:
    assert load_json(DATA / "predictions" / "expected_scores.json").keys() == set(SYSTEMS)


@pytest.mark.parametrize("system", SYSTEMS)
def test_published_system_gets_its_published_scores(system: str) -> None:
    expected = load_json(DATA / "predictions" / "expected_scores.json")[system]
    predictions = load_json(DATA / "predictions" / f"{system}.json.zst")
    assert len(references()) == expected["n"]
    # A question without a prediction counts as wrong.
    scored = [(predictions[key], answers) for key, answers in references().items() if key in predictions]
    em = 100 * sum(exact_match(prediction, answers) for prediction, answers in scored) / expected["n"]
    f1 = 100 * sum(token_f1(prediction, answers) for prediction, answers in scored) / expected["n"]
    assert (round(em, 3), round(f1, 3)) == (expected["em"], expected["f1"])
