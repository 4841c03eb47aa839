"""Recipe of the job `pretrain`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from realm.errors import RecipeError
from realm.training.corpus_recipe import CorpusRecipe
from realm.training.refresh_recipe import RefreshRecipe


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe(CorpusRecipe, RefreshRecipe):
    """Recipe of `realm train pretrain`; further keys are those of `CorpusRecipe` and of `RefreshRecipe`.

    Defaults are the published ones.

    Attributes:
        corpus: What is retrieved from: a knowledge base, a file of `realm export blocks`, or documents; relative to
            `data`.
        encoder: Start the encoder from this BERT-family encoder, with its masked-word head if it has one; "minilm" for
            the public trunk of realm-mini; or a trained RealmKnowledgeAugEncoder, such as RUN/model/encoder.
        embedder: Start the retriever from this trained RealmEmbedder, or the run of `realm train ict` that made it;
            empty for a fresh projection on the encoder's trunk.
        sentences: What sentences are masked in: another source of the same kinds, or a file, or folder of files, whose
            names others have marked (see `annotated`); empty for the corpus itself.
        tagger: What finds names: "rules"; "rules:titles", which also knows the titles of the documents;
            "spacy:PIPELINE"; or the folder of a token-classification model.
        masking: "salient", as published; "random_token" or "random_span" for the ablations.
        marginal: "token", as released: candidates are marginalised for every masked piece; "span", as in the paper.
        max_masks: The most pieces of a sentence to be predicted.
        batch_sentences: Blocks that a step draws a sentence of, over all processes.
        candidates: Blocks a sentence is completed from, the null block among them.
        null_document: Whether the null block is one of them. If not, it is read all the same, to measure
            retrieval utility by.
        drop_origin: Whether a sentence's own block is no candidate.
        query_tower: What embeds sentences for the search: the "snapshot" that also embedded the blocks, as released;
            or the "fresh" embedder.
        query_seq_len: Longest sentence, [CLS] and [SEP] included.
        candidate_seq_len: Longest block, title and special pieces included; the two together are the encoder's input.
        micro_rows: Most pairs of sentence and block in memory at once; a sentence's pairs stay together.
        dimensions: Of a vector. Not used with `embedder`.
        pooling: Of a fresh retriever: "cls", or "mean" with a trunk that was trained for it. Not used with `embedder`.
        extra_layers: Layers added on top of the encoder's trunk, which begin by passing their input on; above a trunk
            without masked-word head the last one begins by naming the pieces of sentence and block. As many as a
            retriever with "mean" pooling has more, if both are to go into one model.
        trunk_layers: Use only so many of the trunk's layers, the lowest ones; 0 for all. Networks that were trained
            before bring their own.
        freeze_retriever: The retriever stays as it is.
        reset_retriever: The result holds the retriever as it was at the start.
        reset_encoder: The result holds the encoder as it was at the start.
        held_out_share: This share of the blocks, told by their content, is not learned from.
        held_out_sentences: So many sentences of held-out blocks are the dev metric.
        questions: Questions with answers; each evaluation also measures in how many of them one of the five best
            blocks holds an answer.
        answer_type: What their answers are where the file does not say: "string" or "regex".

    Source: REALM, Guu et al. 2020, section 3 and table 2; google-research `language/realm` (865fae6).
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "max_masks": (1, math.inf),
        "batch_sentences": (1, math.inf),
        "candidates": (2, math.inf),
        "query_seq_len": (8, math.inf),
        "candidate_seq_len": (16, math.inf),
        "micro_rows": (1, math.inf),
        "dimensions": (1, math.inf),
        "extra_layers": (0, math.inf),
        "trunk_layers": (0, math.inf),
        "held_out_share": (0, 0.9),
        "held_out_sentences": (1, math.inf),
    }
    choices: ClassVar[Mapping[str, Sequence[str]]] = {
        "masking": ("salient", "random_token", "random_span"),
        "marginal": ("token", "span"),
        "query_tower": ("snapshot", "fresh"),
        "pooling": ("cls", "mean"),
        "answer_type": ("string", "regex"),
    }
    # Sizes of micro-batches move roundings, and which units dropout leaves out.
    may_change: ClassVar[frozenset[str]] = frozenset(
        {
            "corpus", "sentences", "encoder", "embedder", "micro_rows", "questions", "answer_type",
        }
    )  # fmt: skip

    corpus: str
    encoder: str
    embedder: str = ""
    sentences: str = ""
    tagger: str = "rules"
    masking: str = "salient"
    marginal: str = "token"
    max_masks: int = 10
    batch_sentences: int = 512
    candidates: int = 8
    null_document: bool = True
    drop_origin: bool = True
    query_tower: str = "snapshot"
    query_seq_len: int = 96
    candidate_seq_len: int = 288
    micro_rows: int = 64
    dimensions: int = 128
    pooling: str = "cls"
    extra_layers: int = 0
    trunk_layers: int = 0
    freeze_retriever: bool = False
    reset_retriever: bool = False
    reset_encoder: bool = False
    held_out_share: float = 0.01
    held_out_sentences: int = 512
    questions: str = ""
    answer_type: str = "string"
    learning_rate: float = 3e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.evaluate_every_steps and not self.held_out_share:
            raise RecipeError(
                "held_out_share is 0, so there is nothing to measure by. Raise it, or set evaluate_every_steps to 0."
            )
