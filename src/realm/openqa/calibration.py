"""From what is known of an answer to the probability that it is right, and to whether it is given at all.

A reader's own probability only weighs the spans of the blocks it read against each other: where none of them answers
the question, one is the likeliest all the same. What tells such answers is measured on questions whose passages are
there and on the same questions with their passages hidden (`realm calibrate`):

    P(right) = sigmoid(bias + weights . signs),    P(no answer here, or another) = 1 - P(right)

Knows numbers and their file, not where they come from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from realm.artifacts import write_json_atomically
from realm.errors import ModelError

CALIBRATION_FILE = "calibration.json"
_FORMAT = 1
_SURE = 1e-6


class Signs(NamedTuple):
    """What is known of an answer.

    Attributes:
        log_odds: Of the probability of what it says among all spans of the blocks read.
        place_log_odds: Of the probability of its likeliest span alone.
        reader_score: The reader's score of that span, before any softmax.
        overlap: Share of the question's word pieces, each by its rarity, that stand in the answer's sentence or in the
            title.
        likeness: Inner product of the question's vector with that of the answer's sentence under its title.
        block_likeness: Inner product of the question's vector with that of the answer's block.
        agreement: How many of the other blocks read hold it, too.
        echo: 1.0 if the question holds it, else 0.0.
        question_pieces: Different word pieces of the question.
        missing_number: 1.0 if a number of the question stands neither in the answer's block nor in its title, else 0.0.
        standing: Fused score of its block, 0 to 1; 0.0 in a search by vectors alone.
    """

    log_odds: float
    place_log_odds: float
    reader_score: float
    overlap: float
    likeness: float
    block_likeness: float
    agreement: float
    echo: float
    question_pieces: float
    missing_number: float
    standing: float


def log_odds(probability: float) -> float:
    """log(p / (1 - p)), kept finite."""
    kept = min(max(probability, _SURE), 1 - _SURE)
    return math.log(kept / (1 - kept))


@dataclass(frozen=True)
class Confidence:
    """How sure to be of an answer.

    Attributes:
        bias: Log-odds of being right where all signs are 0.
        weights: What each sign adds, by its name; a sign without one adds nothing.
        threshold: Below it an answer is not given unless asked for.
    """

    bias: float
    weights: Mapping[str, float]
    threshold: float

    def __call__(self, signs: Signs) -> float:
        """Probability that the answer is right."""
        values = signs._asdict()
        total = self.bias + sum(weight * values[name] for name, weight in self.weights.items())
        return 0.5 * (1.0 + math.tanh(0.5 * total))


@dataclass(frozen=True)
class Calibration:
    """What was measured for one reader.

    Attributes:
        reader_sha256: Digest of the reader it holds for.
        vectors: For searches by vectors alone.
        words: For searches in which words have a share, measured where it is `HYBRID_WEIGHT`.
        measured: On how many questions of which files, and how well it did: for people.
    """

    reader_sha256: str
    vectors: Confidence
    words: Confidence
    measured: Mapping[str, Any]

    def save(self, folder: Path) -> None:
        """Put it beside the model it belongs to."""
        write_json_atomically(folder / CALIBRATION_FILE, {"format": _FORMAT, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> Calibration | None:
        """The calibration of a model folder, if it has one.

        Raises:
            ModelError: The file is damaged.
        """
        path = folder / CALIBRATION_FILE
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["format"] != _FORMAT:
                raise ValueError(f"format {value['format']!r}, expected {_FORMAT}")
            return cls(
                str(value["reader_sha256"]), _confidence(value["vectors"]), _confidence(value["words"]),
                dict(value["measured"]),
            )  # fmt: skip
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as exc:
            raise ModelError(f"{path} is no calibration ({exc}). Make it again with: realm calibrate") from exc


def _confidence(value: Mapping[str, Any]) -> Confidence:
    weights = {str(name): float(weight) for name, weight in value["weights"].items()}
    found = Confidence(float(value["bias"]), weights, float(value["threshold"]))
    if unknown := sorted(weights.keys() - set(Signs._fields)):
        raise ValueError(f"no sign is called {unknown[0]!r}")
    if not all(map(math.isfinite, (found.bias, *weights.values()))) or not 0 <= found.threshold <= 1:
        raise ValueError("a number is not finite, or the threshold not between 0 and 1")
    return found
