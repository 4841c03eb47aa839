"""What `finetune` learns from, opened: blocks to retrieve, and questions.

Knows recipes and folders, no networks.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from realm.corpus.questions import AnswerType
from realm.errors import RecipeError
from realm.openqa.default_model import cache_folder
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource, open_blocks
from realm.training.distributed import Processes
from realm.training.finetune_questions import Questions
from realm.training.finetune_recipe import FinetuneRecipe


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
    recipe: FinetuneRecipe, tokenizer: PieceTokenizer, processes: Processes, corpus: BlockSource | None = None
) -> FinetuneSources:
    """Open what a recipe names; the first process makes what is not in the cache yet, and the others wait.

    Args:
        recipe: See `FinetuneRecipe`.
        tokenizer: Of the model.
        processes: Those that train.
        corpus: The blocks, if they are open already.

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
        corpus = _open(path, recipe, tokenizer, processes)
    if len(corpus) < recipe.reader_blocks:
        raise RecipeError(
            f"reader_blocks is {recipe.reader_blocks:,}, but {recipe.corpus} has {len(corpus):,} blocks. Lower it, or "
            "give more documents."
        )
    return FinetuneSources(path, corpus, questions)


def _open(path: Path, recipe: FinetuneRecipe, tokenizer: PieceTokenizer, processes: Processes) -> BlockSource:
    cache = Path(recipe.cache) if recipe.cache else cache_folder() / "blocks"
    if not processes.is_first:
        processes.barrier()
    opened = open_blocks(path, tokenizer, cache, recipe.max_documents or None, max_pieces=recipe.block_seq_len)
    if processes.is_first:
        processes.barrier()
    return opened
