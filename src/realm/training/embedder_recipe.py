"""Recipe of the job `embedder`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from realm.training.recipe import LoopRecipe


@dataclass(frozen=True)
class EmbedderRecipe(LoopRecipe):
    """Recipe of `realm train embedder`; the keys of the loop are those of `LoopSettings`.

    Attributes:
        trunk: Folder of a BERT-family encoder whose mean-pooled states are good similarities.
        sources: Reading files: question and answering passage; options as for the reader.
        data: Folder that relative paths of sources, documents and questions start from.
        documents: Document files; of each block one sentence serves as question to it.
        questions: Question files; their similarities to all blocks of a step are learned from the teacher.
        max_documents: Of each document file, at most this many are used.
        batch_pairs: Question-passage pairs per step.
        batch_sentences: Sentence-block pairs per step.
        batch_questions: Further questions per step.
        batch_blocks: So many blocks, drawn from all there are, are negatives for every question of the step.
        hard_negatives: Of each pair, so many of its hard negatives (see `realm train negatives`) join the blocks of the
            step, drawn anew each time.
        keep_sentence_share: Share of sentence-block pairs whose block keeps the sentence.
        distillation_weight: Weight of the teacher's ranking against that of the pairs (1 - weight).
        teacher_scale: Inverse temperature of the teacher.
        score_scale: Inner product of a vector with itself at the start.
        dimensions: Of a vector; at most the trunk's width.
        max_block_pieces: Longest block input.
        max_question_pieces: Longest question input.
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("max_documents", "batch_pairs", "max_block_pieces", "max_question_pieces"), (1, math.inf)),
        **dict.fromkeys(("batch_sentences", "batch_questions", "batch_blocks", "hard_negatives"), (0, math.inf)),
        **dict.fromkeys(("teacher_scale", "score_scale"), (0, math.inf)),
        **dict.fromkeys(("keep_sentence_share", "distillation_weight"), (0, 1)),
    }
    may_change: ClassVar[frozenset[str]] = frozenset({"trunk", "data"})  # the digest of the trunk may not

    trunk: str
    sources: tuple[str, ...]
    _: KW_ONLY
    data: str = "."
    documents: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    max_documents: int = 400
    batch_pairs: int = 256
    batch_sentences: int = 32
    batch_questions: int = 128
    batch_blocks: int = 4096
    hard_negatives: int = 2
    keep_sentence_share: float = 0.1
    distillation_weight: float = 0.3
    teacher_scale: float = 40.0
    score_scale: float = 20.0
    dimensions: int = 128
    max_block_pieces: int = 288
    max_question_pieces: int = 64
    learning_rate: float = 3e-4
    save_every_steps: int = 50
