"""What `finetune` learns from, opened: blocks to retrieve, and questions.

Knows recipes and folders, no networks.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from realm.corpus.questions import AnswerType
from realm.errors import RecipeError
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource
from realm.training.distributed import Processes
from realm.training.finetune_questions import Questions
from realm.training.finetune_recipe import FinetuneRecipe
from realm.training.job_report import QUIET, JobReport


class FinetuneSources(NamedTuple):
    """Opened sources.

    Attributes:
        path: Where the blocks come from.
        corpus: The blocks.
        questions: The questions.
    """

    path: Path
    corpus: BlockSource
    questions: Questions


def open_sources(
    recipe: FinetuneRecipe,
    tokenizer: PieceTokenizer,
    processes: Processes,
    corpus: BlockSource | None = None,
    report: JobReport = QUIET,
) -> FinetuneSources:
    """Open what a recipe names; the first process makes what is not in the cache yet, and the others wait.

    Args:
        recipe: See `FinetuneRecipe`.
        tokenizer: Of the model.
        processes: Those that train.
        corpus: The blocks, if they are open already.
        report: Is told how it goes.

    Raises:
        SourceError: A source is missing, damaged or empty.
        RecipeError: There is no question to learn from, or there are fewer blocks than a question reads.
    """
    data = Path(recipe.data)
    answer_type: AnswerType = recipe.answer_type  # type: ignore[assignment]  # the recipe allows no other
    questions = Questions(
        recipe.questions, data, data / recipe.dev if recipe.dev else None, tokenizer, answer_type=answer_type,
        max_pieces=recipe.max_question_pieces, use_passages=recipe.passage_supervision, seed=recipe.seed,
    )  # fmt: skip
    # Absolute: a process that refreshes the index may have been started elsewhere.
    path = (data / recipe.corpus).absolute()
    if corpus is None:
        corpus = processes.first_alone(
            lambda: recipe.open_corpus(recipe.corpus, tokenizer, recipe.block_seq_len, report)
        )
    if len(corpus) < recipe.reader_blocks:
        raise RecipeError(
            f"reader_blocks is {recipe.reader_blocks:,}, but {recipe.corpus} has {len(corpus):,} blocks. Lower it, or "
            "give more documents."
        )
    return FinetuneSources(path, corpus, questions)
