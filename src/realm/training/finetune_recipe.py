"""Recipe of the job `finetune`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from realm.errors import RecipeError
from realm.training.corpus_recipe import CorpusRecipe
from realm.training.reading_data import split_paths
from realm.training.refresh_recipe import RefreshRecipe


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(CorpusRecipe, RefreshRecipe):
    """Recipe of `realm train finetune`; further keys are those of `CorpusRecipe` and, with `train_blocks`,
    of `RefreshRecipe`. Defaults are the published ones.

    Attributes:
        corpus: What is retrieved from: a knowledge base, a file of `realm export blocks`, or documents; relative to
            `data`.
        questions: Files with questions and answers, of any format that `realm evaluate` reads; `;keep_aside=N` keeps
            one question in N out (of reading examples, one title in N), `;share=F` weighs the draw.
        model: Start from this RealmForOpenQA; "realm-mini" for the built-in one. This, or the two below, must be given.
        embedder: Start the retriever from this RealmEmbedder: RUN of `ict`, or RUN/model/embedder of `pretrain`.
        reader: Start the reader from this RealmReader, RealmKnowledgeAugEncoder (RUN/model/encoder of `pretrain`) or
            BERT-family encoder; the span scores of the last two are fresh.
        dev: Questions to measure by; empty for those that are kept aside.
        dev_questions: The most of them.
        block_vectors: "fresh" ones, made by the model as it starts; or those of the "corpus", a knowledge base of
            this model.
        freeze_retriever: Only the reader learns; the result works with every knowledge base of the starting model.
        train_blocks: Questions and blocks share one embedder that learns from both, and the index is refreshed.
            Otherwise the question's embedder learns and that of the blocks stays.
        trained_blocks: With `train_blocks`: so many of the best blocks, and those that are read, are embedded anew.
        retrieved: Blocks that the retriever's loss is over.
        reader_blocks: Blocks that a question reads.
        read: The "best" blocks; or for "contrast" the best that hold an answer and, as many, the best that do not.
        answer_type: What answers are where a file does not say: "string" or "regex".
        has_answer: A block holds an answer if its text does, character by character ("substring", as released), or
            token by token whatever the case ("tokens").
        passage_supervision: Of a reading example, only the block with the marked answer's own sentence is right.
        distant_within: Blocks that hold an answer count up to this rank, later ones neither way; 0 for all.
        max_positive_blocks: So many of a question's best blocks with an answer count, others neither way; 0 for all.
        score_scale: Factor of the scores in the retriever's loss.
        batch_questions: Questions of a step, over all processes.
        micro_rows: The most pairs of question and block in memory at once; a question's pairs stay together.
        max_question_pieces: A question with more word pieces is left out.
        block_seq_len: Longest block with title and special pieces, when it is embedded.
        reader_seq_len: Longest question with its block and special pieces; the block is cut.
        max_span_width: Longest answer in word pieces.
        answer_cache_megabytes: What is remembered of which blocks hold which answers.

    Source: ORQA, Lee et al. 2019; google-research `language/orqa/models/orqa_model.py` (865fae6).
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "dev_questions": (1, math.inf),
        "trained_blocks": (0, math.inf),
        "retrieved": (1, math.inf),
        "reader_blocks": (1, math.inf),
        "distant_within": (0, math.inf),
        "max_positive_blocks": (0, math.inf),
        "score_scale": (1e-6, math.inf),
        "batch_questions": (1, math.inf),
        "micro_rows": (1, math.inf),
        "max_question_pieces": (4, math.inf),
        "block_seq_len": (16, math.inf),
        "reader_seq_len": (16, math.inf),
        "max_span_width": (1, math.inf),
        "answer_cache_megabytes": (1, math.inf),
    }
    choices: ClassVar[Mapping[str, Sequence[str]]] = {
        "block_vectors": ("fresh", "corpus"),
        "read": ("best", "contrast"),
        "answer_type": ("string", "regex"),
        "has_answer": ("substring", "tokens"),
    }
    # Sizes of micro-batches move roundings.
    may_change: ClassVar[frozenset[str]] = frozenset(
        {
            "corpus", "questions", "model", "embedder", "reader", "micro_rows", "answer_cache_megabytes",
        }
    )  # fmt: skip

    corpus: str
    questions: tuple[str, ...]
    model: str = ""
    embedder: str = ""
    reader: str = ""
    dev: str = ""
    dev_questions: int = 500
    block_vectors: str = "fresh"
    freeze_retriever: bool = False
    train_blocks: bool = False
    trained_blocks: int = 8
    retrieved: int = 5000
    reader_blocks: int = 5
    read: str = "best"
    answer_type: str = "string"
    has_answer: str = "substring"
    passage_supervision: bool = True
    distant_within: int = 0
    max_positive_blocks: int = 0
    score_scale: float = 1.0
    batch_questions: int = 1
    micro_rows: int = 8
    max_question_pieces: int = 128
    block_seq_len: int = 288
    reader_seq_len: int = 320
    max_span_width: int = 10
    answer_cache_megabytes: int = 512
    learning_rate: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        towers = bool(self.embedder), bool(self.reader)
        if not (self.model and towers == (False, False)) and not (not self.model and towers == (True, True)):
            raise RecipeError("Give either model (a RealmForOpenQA), or both embedder and reader.")
        keeps_aside = any(keep_aside for _, keep_aside, _ in split_paths(self.questions))
        if self.evaluate_every_steps and not (self.dev or keeps_aside):
            raise RecipeError("There are no questions to measure by: name a file in dev, or keep some aside.")
        if self.reader_blocks > self.retrieved:
            raise RecipeError(
                f"reader_blocks is {self.reader_blocks:,}, but only {self.retrieved:,} blocks are retrieved. Lower it, "
                "or raise retrieved."
            )
        if self.train_blocks and (self.freeze_retriever or self.block_vectors == "corpus"):
            other = "freeze_retriever" if self.freeze_retriever else 'block_vectors = "corpus"'
            raise RecipeError(f"train_blocks and {other} exclude each other. Leave one out.")
        if self.reader_seq_len < self.max_question_pieces + 3 + self.max_span_width:
            raise RecipeError(
                f"reader_seq_len is {self.reader_seq_len:,}, which leaves a question of max_question_pieces "
                f"({self.max_question_pieces:,}) no room for a block. Raise one, or lower the other."
            )
