"""What is known of answers before anyone says how likely they are right.

    question ─ vector ─────────────────────────┐
    answer ─ title, sentence ─ block embedder ─ likeness     other blocks ─ agreement     the reader's choice ─ the rest

Knows questions, blocks and what was chosen, not what the signs are worth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from realm.corpus.answers import contains_answer
from realm.openqa.asked import Asked
from realm.openqa.calibration import Signs, log_odds
from realm.openqa.model_folder import ModelFolder
from realm.openqa.span_choice import Choice, Reading

_MAX_SENTENCE_PIECES = 128
_NUMBER = re.compile(r"\d+(?:,\d{3})*")


def signs_of(
    model: ModelFolder, asked: Sequence[Asked], readings: Sequence[Reading], choices: Sequence[Choice]
) -> list[Signs | None]:
    """Signs of each question's answer; None where there is none.

    Args:
        model: What read them; it also embeds the sentences of the answers, all at once.
        asked: The questions.
        readings: What was read for each.
        choices: The answer to each.
    """
    length = min(_MAX_SENTENCE_PIECES, model.networks.config.max_position_embeddings)
    rows = [model.inputs.block(one.title_ids, one.sentence_ids, length) for one in choices if one.span is not None]
    sentences = iter(model.embed(rows))
    return [
        None if choice.span is None else _signs(question, reading, choice, float(next(sentences) @ question.vector))
        for question, reading, choice in zip(asked, readings, choices, strict=True)
    ]


def _signs(question: Asked, reading: Reading, choice: Choice, likeness: float) -> Signs:
    assert choice.span is not None
    said = [choice.span.text]
    block = reading.blocks[choice.span.place].block
    others = [stored.block.text for place, stored in enumerate(reading.blocks) if place != choice.span.place]
    return Signs(
        log_odds=log_odds(choice.probability),
        place_log_odds=log_odds(choice.place_probability),
        reader_score=choice.reader_score,
        overlap=choice.overlap,
        likeness=likeness,
        block_likeness=float(question.found.dense[choice.span.place]),
        agreement=float(sum(contains_answer(text, said) for text in others)),
        echo=float(contains_answer(question.text, said)),
        question_pieces=float(len(set(question.ids))),
        missing_number=float(not numbers_of(question.text) <= numbers_of(f"{block.title} {block.text}")),
        standing=float(question.found.fused[choice.span.place]) if question.by_words else 0.0,
    )


def numbers_of(text: str) -> set[str]:
    """The whole numbers in a text, such as years, without the commas of thousands."""
    return {number.replace(",", "") for number in _NUMBER.findall(text)}
