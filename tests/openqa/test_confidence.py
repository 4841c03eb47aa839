"""Signs into confidence, and the file it is kept in."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import ModelError
from realm.openqa.ask import OpenQA, Searching
from realm.openqa.calibration import CALIBRATION_FILE, Calibration, Confidence, Signs, log_odds
from realm.openqa.indexing import index_sources
from realm.openqa.model_folder import ModelFolder
from realm.records import Document

NUMBERS = st.floats(-20, 20)
QUESTION = "who built the castle?"


def calibration_of(model: ModelFolder, vectors: Confidence, words: Confidence) -> Calibration:
    return Calibration(model.reader_sha256, vectors, words, {"questions": "none"})


def always(probability: float, threshold: float) -> Confidence:
    return Confidence(log_odds(probability), {}, threshold)


@pytest.fixture
def calibrated(tmp_path: Path, tiny_folder: Path, documents: list[Document]) -> tuple[Path, ModelFolder]:
    """A copy of the tiny model, and a knowledge base made with it."""
    from tiny_model import write_jsonl

    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    model = ModelFolder.open(str(folder))
    index_sources(tmp_path / "kb", [write_jsonl(tmp_path / "stories.jsonl", documents)], model)
    return tmp_path / "kb", model


@given(st.tuples(*[NUMBERS] * len(Signs._fields)), st.tuples(*[NUMBERS] * len(Signs._fields)), NUMBERS)
def test_confidence_is_the_logistic_of_the_weighted_signs(
    signs: tuple[float, ...], weights: tuple[float, ...], bias: float
) -> None:
    total = bias + sum(w * s for w, s in zip(weights, signs, strict=True))
    found = Confidence(bias, dict(zip(Signs._fields, weights, strict=True)), 0.5)(Signs(*signs))
    expected = 1 / (1 + math.exp(-total)) if total > 0 else math.exp(total) / (1 + math.exp(total))
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("probability", [0.0, 1e-300, 0.3, 1.0 - 1e-16, 1.0])
def test_log_odds_are_finite_and_turn_back(probability: float) -> None:
    assert 1 / (1 + math.exp(-log_odds(probability))) == pytest.approx(probability, abs=2e-6)


def test_a_calibration_comes_back_from_its_file(tmp_path: Path) -> None:
    words = Confidence(-1.5, {"overlap": 2.0, "standing": -0.25}, 0.125)
    saved = Calibration("ab", Confidence(0.5, {}, 0.0), words, {"asked": 7})
    saved.save(tmp_path)
    assert Calibration.load(tmp_path) == saved
    assert Calibration.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 2},
        {"words": None},
        {"words": {"bias": 0.0, "weights": {"luck": 1.0}, "threshold": 0.5}},
        {"words": {"bias": math.nan, "weights": {}, "threshold": 0.5}},
        {"vectors": {"bias": 0.0, "weights": {}, "threshold": 1.5}},
    ],
)
def test_a_damaged_calibration_is_refused(tmp_path: Path, damage: dict[str, object]) -> None:
    Calibration("ab", Confidence(0.5, {}, 0.0), Confidence(0.5, {}, 0.0), {}).save(tmp_path)
    path = tmp_path / CALIBRATION_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(ModelError, match=r"is no calibration .*realm calibrate"):
        Calibration.load(tmp_path)


def test_an_uncalibrated_model_says_what_its_reader_believes_and_answers_always(
    calibrated: tuple[Path, ModelFolder],
) -> None:
    answer = OpenQA.load(calibrated[0]).ask(QUESTION)
    assert answer.text is not None
    assert log_odds(answer.confidence) == pytest.approx(answer.signs["log_odds"])


def test_a_calibrated_model_says_what_was_measured_for_the_way_of_searching(
    calibrated: tuple[Path, ModelFolder],
) -> None:
    kb, model = calibrated
    calibration_of(model, always(0.2, 0.1), always(0.7, 0.1)).save(model.folder)
    qa = OpenQA.load(kb)
    for weight, expected in ((0.0, 0.2), (1.0, 0.7), (0.5, 0.7)):
        answer = qa.ask(QUESTION, searching=Searching(weight=weight))
        assert answer.confidence == pytest.approx(expected)
        assert (answer.signs["standing"] > 0) == (weight > 0)


def test_below_the_measured_threshold_there_is_no_answer_unless_asked_for(
    calibrated: tuple[Path, ModelFolder],
) -> None:
    kb, model = calibrated
    calibration_of(model, always(0.2, 0.25), always(0.2, 0.25)).save(model.folder)
    qa = OpenQA.load(kb)
    unsure = qa.ask(QUESTION)
    assert (unsure.text, unsure.confidence) == (None, pytest.approx(0.2))
    assert len(unsure.evidence) == 5
    assert qa.ask(QUESTION, min_confidence=0.0).text is not None
    assert qa.ask(QUESTION, min_confidence=0.21).text is None


def test_overlap_weighs_the_pieces_of_the_question_near_the_answer_by_rarity(
    calibrated: tuple[Path, ModelFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    qa = OpenQA.load(calibrated[0])
    tokenizer = qa.model.tokenizer
    asked = sorted(set(tokenizer.ids_of(QUESTION)))
    evidence = qa.ask(QUESTION, top=1).evidence[0]
    # The stories have one sentence to a block's every full stop, so sentences can be told by hand.
    assert evidence.start is not None
    at = evidence.start - evidence.block_start
    begin = evidence.text.rfind(". ", 0, at) + 1
    end = evidence.text.find(". ", at)
    sentence = evidence.text[begin : None if end < 0 else end + 1]
    near = set(tokenizer.ids_of(sentence)) | set(tokenizer.ids_of(evidence.title))
    assert 0 < len(near.intersection(asked)) < len(asked)

    rising = np.linspace(1, 2, len(tokenizer.rarities), dtype=np.float32)
    for rarities, weights in ((rising, rising), (np.zeros_like(rising), np.ones_like(rising))):
        monkeypatch.setitem(vars(tokenizer), "rarities", rarities)
        expected = sum(weights[id] for id in asked if id in near) / weights[asked].sum()
        assert qa.ask(QUESTION, top=1).signs["overlap"] == pytest.approx(expected)


def test_a_calibration_of_another_reader_is_refused(calibrated: tuple[Path, ModelFolder]) -> None:
    kb, model = calibrated
    replace(calibration_of(model, always(0.2, 0.1), always(0.2, 0.1)), reader_sha256="ab").save(model.folder)
    with pytest.raises(ModelError, match="belongs to another reader"):
        OpenQA.load(kb).ask(QUESTION)
