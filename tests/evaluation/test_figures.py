"""Judgements into figures, against counting by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted import block, prediction

from realm.corpus.expressions import ExpressionMatcher
from realm.evaluation.figures import RECALL_AT, columns, compare_systems, figures_of
from realm.evaluation.judging import Judgement, judge
from realm.evaluation.predictions import Prediction


def judged(*predictions: Prediction) -> list[Judgement]:
    matcher = ExpressionMatcher()
    return [judge(p, matcher) for p in predictions]


def retrieved(key: str, hit: int | None, gold: int | None, depth: int = 100, **more: object) -> Prediction:
    evidence = tuple(block(n, has_answer=n == hit, is_gold=n == gold) for n in range(1, depth + 1))
    return prediction(key, evidence=evidence, **{"read": 5, **more})


def test_recall_counts_questions_with_a_hit_that_far_down() -> None:
    found = columns(
        judged(retrieved("a", 1, 3), retrieved("b", 5, None), retrieved("c", 21, 100), retrieved("d", None, 6))
    )
    share = {name: sum(values.values()) / 4 for name, values in found.items()}
    assert [share[f"answer_recall@{k}"] for k in RECALL_AT] == [0.25, 0.5, 0.5, 0.75]
    assert [share[f"gold_recall@{k}"] for k in RECALL_AT] == [0, 0.25, 0.5, 0.75]
    assert share["reader_oracle"] == 0.5


RANKS = st.lists(st.tuples(st.none() | st.integers(1, 20), st.none() | st.integers(1, 20)), min_size=1, max_size=12)


@settings(max_examples=20)
@given(RANKS)
def test_recall_grows_with_depth(ranks: list[tuple[int | None, int | None]]) -> None:
    figures = figures_of(judged(*(retrieved(str(n), *pair, depth=20) for n, pair in enumerate(ranks))))
    assert "answer_recall@100" not in figures.metrics
    for name, points in figures.recall_curves.items():
        values = [estimate.value for estimate in points.values()]
        assert values == sorted(values)
        for k in (1, 5, 20):
            assert points[k] == figures.metrics[f"{name}@{k}"]
    assert figures.metrics["answer_recall@5"] == figures.metrics["reader_oracle"]


def test_recall_is_not_given_where_blocks_have_not_been_looked_at() -> None:
    unknown = prediction("b", evidence=(block(0, text="x"), *(block(n) for n in range(9))), read=1)
    found = columns(judged(retrieved("a", None, None, depth=10), unknown))
    assert "answer_recall@1" in found
    assert "answer_recall@5" not in found
    assert found["reader_oracle"] == {"a": 0.0, "b": 0.0}
    assert not any(name.startswith(("answer_recall", "gold")) for name in columns(judged(prediction())))


def test_questions_without_right_answer_have_no_recall_but_are_scored() -> None:
    found = columns(judged(retrieved("a", 1, 1), retrieved("b", None, None, answers=[""], said=None)))
    assert found["official_exact_match"] == {"a": 1.0, "b": 1.0}
    assert found["answer_recall@1"] == {"a": 1.0}
    assert found["answered"] == {"a": 1.0, "b": 0.0}


def test_strings_and_expressions_have_metrics_of_their_own() -> None:
    found = columns(judged(prediction("a"), prediction("b", "in 1492", ["1492"], answer_type="regex")))
    assert found["official_exact_match"] == {"a": 1.0, "b": 0.0}
    assert found["squad_f1"] == {"a": 1.0}
    assert found["regex_match_at_start"] == {"b": 0.0}
    assert found["regex_match_anywhere"] == {"b": 1.0}


def test_confidence_is_measured_on_given_answers() -> None:
    figures = figures_of(
        judged(
            prediction("a", "Eliot", confidence=0.9),
            prediction("b", "Evans", confidence=0.5),
            prediction("c", None, confidence=0.1),
            prediction("d", "Eliot"),
        )
    )
    assert figures.calibration_error is not None
    assert figures.risk_coverage is not None
    assert figures.calibration_error.n == 2
    assert figures.calibration_error.value == pytest.approx((0.1 + 0.5) / 2)
    assert figures.risk_coverage.risk == 0.5
    assert figures_of(judged(prediction())).risk_coverage is None


def test_times_are_percentiles_of_stages_and_total() -> None:
    asked = [prediction(str(n), seconds={"search": n / 100, "read": 1.0}) for n in range(101)]
    seconds = figures_of(judged(*asked, prediction("untimed"))).seconds
    assert list(seconds) == ["search", "read", "total"]
    assert seconds["search"] == pytest.approx({"mean": 0.5, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99})
    assert seconds["total"]["p90"] == pytest.approx(1.9)


def test_systems_are_compared_on_what_both_have() -> None:
    first = judged(retrieved("a", 1, 1), retrieved("b", 9, None, said="Evans"))
    second = judged(prediction("a", "George Eliot"), prediction("b", "Eliot"))
    found = compare_systems(list(zip(first, second, strict=True)))
    assert list(found) == ["official_exact_match", "squad_exact_match", "squad_f1", "answered"]
    assert (found["official_exact_match"].better, found["official_exact_match"].worse) == (1, 1)
    assert found["squad_f1"].difference.value == pytest.approx((2 / 3 - 1 + 1) / 2)


@given(st.lists(st.sampled_from(["Eliot", "George Eliot", "the Eliot!", "Evans", "", None]), min_size=1, max_size=20))
def test_exact_match_is_never_above_f1(said: list[str | None]) -> None:
    metrics = figures_of(judged(*(prediction(str(n), text) for n, text in enumerate(said)))).metrics
    assert metrics["squad_exact_match"].value <= metrics["squad_f1"].value + 1e-12
    assert all(0 <= e.low <= e.value + 1e-12 <= e.high + 2e-12 <= 1 + 3e-12 for e in metrics.values())
