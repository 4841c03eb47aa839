"""Published systems' predictions get their published scores. Skipped where the data is not beside the checkout."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import zstandard

from realm.evaluation.figures import compare_systems, figures_of
from realm.evaluation.scoring import Judged, judge_file, same_questions

DATA = Path(__file__).parents[3] / "shared" / "data"
SYSTEMS = ("bert_ensemble", "logistic_regression", "match_lstm", "r_net_plus", "slqa_plus")

pytestmark = pytest.mark.skipif(
    not (DATA / "predictions").is_dir(), reason="no published predictions in ../shared/data/predictions"
)


def load_json(path: Path) -> Any:
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    return json.loads(data)


def test_every_system_with_expected_scores_is_scored() -> None:
    assert load_json(DATA / "predictions" / "expected_scores.json").keys() == set(SYSTEMS)


@cache
def judged(system: str) -> Judged:
    return judge_file(DATA / "predictions" / f"{system}.json.zst", DATA / "reading" / "squad_dev_part.jsonl.zst")


@pytest.mark.parametrize("system", SYSTEMS)
def test_published_system_gets_its_published_scores(system: str) -> None:
    expected = load_json(DATA / "predictions" / "expected_scores.json")[system]
    metrics = figures_of(judged(system).judgements).metrics
    assert {estimate.n for estimate in metrics.values()} == {expected["n"]}
    assert round(100 * metrics["squad_exact_match"].value, 3) == expected["em"]
    assert round(100 * metrics["squad_f1"].value, 3) == expected["f1"]
    assert all(
        estimate.low < estimate.value < estimate.high for name, estimate in metrics.items() if name != "answered"
    )


def test_better_of_two_published_systems_is_significantly_so() -> None:
    pairs = same_questions(judged("match_lstm"), judged("bert_ensemble"), (Path("a"), Path("b")))
    for name in ("squad_exact_match", "squad_f1"):
        test = compare_systems(pairs)[name]
        assert test.difference.low > 0.15
        assert test.p_value < 0.001
