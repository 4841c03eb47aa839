"""Judgements into figures: means with intervals, calibration, risk and coverage, times; and two systems compared.

Knows judgements and numbers, not files. Read `figures_of` first; `columns` says what each metric is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from realm.evaluation.bootstrap import Estimate, mean_estimate
from realm.evaluation.calibration import ReliabilityBin, calibration_error_estimate, reliability_bins
from realm.evaluation.judging import Judgement
from realm.evaluation.selective import RiskCoverage, risk_coverage
from realm.evaluation.significance import PairedTest, paired_test

RECALL_AT = (1, 5, 20, 100)
_CURVE_AT = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100)
_PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Figures:
    """All that is reported about one system.

    Attributes:
        n: Questions judged.
        metrics: Each metric, in the order of `columns`.
        recall_curves: `answer_recall` and `gold_recall` at more depths than are metrics.
        calibration_error: Of the confidences of given answers; None without confidences.
        reliability: The bins it is made of.
        risk_coverage: Of given answers; None without confidences.
        seconds: `mean` and percentiles of each stage and of the total. A question has an equal share of the time of the
            batch it was asked in, so that these are times of waiting only for batches of one.
    """

    n: int
    metrics: dict[str, Estimate]
    recall_curves: dict[str, dict[int, Estimate]]
    calibration_error: Estimate | None
    reliability: list[ReliabilityBin]
    risk_coverage: RiskCoverage | None
    seconds: dict[str, dict[str, float]]


def figures_of(judgements: Sequence[Judgement]) -> Figures:
    """Every figure that the judgements allow; there must be at least one judgement."""
    sure = [j for j in judgements if j.confidence is not None and j.is_answered]
    confidences = [j.confidence or 0.0 for j in sure]
    right = [j.official for j in sure]
    metrics = {name: mean_estimate(list(values.values())) for name, values in columns(judgements).items()}
    read = [j.official for j in judgements if j.answer_rank is not None and j.answer_rank <= j.read]
    if read:
        metrics["official_exact_match_where_read"] = mean_estimate(read)
    return Figures(
        n=len(judgements),
        metrics=metrics,
        recall_curves=_recall_curves(judgements),
        calibration_error=calibration_error_estimate(confidences, right) if sure else None,
        reliability=reliability_bins(confidences, right),
        risk_coverage=risk_coverage(confidences, right) if sure else None,
        seconds=_seconds(judgements),
    )


def columns(judgements: Sequence[Judgement]) -> dict[str, dict[str, float]]:
    """For each metric its value of each question it is defined for, by question id.

        official_exact_match    as ORQA: exact match, or for expressions a match at the start
        squad_exact_match       by SQuAD's normalisation
        squad_f1                best token F1 over the references
        regex_match_at_start    as ORQA and DrQA's reader
        regex_match_anywhere    as DrQA's retriever searches
        answered                whether there was an answer at all
        answer_recall@k         an answer stands in one of the best k blocks
        gold_recall@k           one of the best k blocks is of the passage the question was asked about
        reader_oracle           an answer stands in a block that was read: all that a reader could get right

    Recall is given for depths that were retrieved, and where every question has been looked at that far.
    """
    found = {
        "official_exact_match": {j.id: float(j.official) for j in judgements},
        "squad_exact_match": {j.id: float(j.squad_exact) for j in judgements if j.is_string},
        "squad_f1": {j.id: j.f1 for j in judgements if j.is_string},
        "regex_match_at_start": {j.id: float(j.official) for j in judgements if not j.is_string},
        "regex_match_anywhere": {j.id: float(j.regex_anywhere) for j in judgements if not j.is_string},
        "answered": {j.id: float(j.is_answered) for j in judgements},
    }
    depth = max((j.depth for j in judgements), default=0)
    for k in RECALL_AT:
        if k <= depth:
            found[f"answer_recall@{k}"] = _answer_recall(judgements, k)
            found[f"gold_recall@{k}"] = _gold_recall(judgements, k)
    if depth:
        found["reader_oracle"] = _reader_oracle(judgements)
    return {name: values for name, values in found.items() if values}


def compare_systems(pairs: Sequence[tuple[Judgement, Judgement]]) -> dict[str, PairedTest]:
    """Each metric that both systems have, the second against the first, over the questions both have it for."""
    first, second = columns([one for one, _ in pairs]), columns([other for _, other in pairs])
    found = {}
    for name in first.keys() & second.keys() if first.keys() != second.keys() else first:
        ids = [key for key in first[name] if key in second[name]]
        if ids:
            found[name] = paired_test([first[name][key] for key in ids], [second[name][key] for key in ids])
    return {name: found[name] for name in first if name in found}


def _answer_recall(judgements: Sequence[Judgement], k: int) -> dict[str, float]:
    asked = [j for j in judgements if j.is_answerable]
    if any(j.answer_rank is None and j.known < min(k, j.depth) for j in asked):
        return {}
    return {j.id: float(j.answer_rank is not None and j.answer_rank <= k) for j in asked}


def _gold_recall(judgements: Sequence[Judgement], k: int) -> dict[str, float]:
    if not any(j.gold_known for j in judgements):
        return {}
    asked = [j for j in judgements if j.is_answerable and (j.gold_known or not j.depth)]
    return {j.id: float(j.gold_rank is not None and j.gold_rank <= k) for j in asked}


def _reader_oracle(judgements: Sequence[Judgement]) -> dict[str, float]:
    asked = [j for j in judgements if j.is_answerable]
    if any(j.answer_rank is None and j.known < min(j.read, j.depth) for j in asked):
        return {}
    return {j.id: float(j.answer_rank is not None and j.answer_rank <= j.read) for j in asked}


def _recall_curves(judgements: Sequence[Judgement]) -> dict[str, dict[int, Estimate]]:
    depth = max((j.depth for j in judgements), default=0)
    found: dict[str, dict[int, Estimate]] = {}
    for name, recall in (("answer_recall", _answer_recall), ("gold_recall", _gold_recall)):
        values = {k: list(recall(judgements, k).values()) for k in _CURVE_AT if k <= depth}
        if curve := {k: mean_estimate(column) for k, column in values.items() if column}:
            found[name] = curve
    return found


def _seconds(judgements: Sequence[Judgement]) -> dict[str, dict[str, float]]:
    timed = [j.seconds for j in judgements if j.seconds]
    stages = list(dict.fromkeys(stage for seconds in timed for stage in seconds))
    taken = {stage: [seconds[stage] for seconds in timed if stage in seconds] for stage in stages}
    if timed:
        taken["total"] = [sum(seconds.values()) for seconds in timed]
    return {
        stage: {
            "mean": float(np.mean(values)),
            **{f"p{p}": float(np.percentile(values, p)) for p in _PERCENTILES},
        }
        for stage, values in taken.items()
    }
