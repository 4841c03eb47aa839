"""What `pretrain` reads: the corpus that is retrieved from, and the sentences that are masked.

Knows recipes and sources, no networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from realm.openqa.default_model import cache_folder
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource, open_blocks
from realm.training.distributed import Processes
from realm.training.exports import RefreshPlan
from realm.training.pretrain_recipe import PretrainRecipe
from realm.training.pretrain_sentences import SentenceSource, is_annotated, mark_sentences, open_annotated


@dataclass(frozen=True)
class Sources:
    """What is read.

    Attributes:
        corpus: Retrieved from.
        sentences: Masked.
        plan: Where another process finds the corpus.
    """

    corpus: BlockSource
    sentences: SentenceSource
    plan: RefreshPlan

    def digests(self) -> dict[str, str]:
        """Names of both."""
        return {"corpus": self.corpus.digest, "sentences": self.sentences.digest}


def open_sources(recipe: PretrainRecipe, tokenizer: PieceTokenizer, processes: Processes) -> Sources:
    """Open what a recipe names; the first process makes what is not in the cache yet, and the others wait.

    Raises:
        SourceError: A source is missing, damaged or empty, or no block has a name or a date.
        RecipeError: There is no such tagger.
    """
    if not processes.is_first:
        processes.barrier()
    opened = _open(recipe, tokenizer)
    if processes.is_first:
        processes.barrier()
    return opened


def _open(recipe: PretrainRecipe, tokenizer: PieceTokenizer) -> Sources:
    cache = Path(recipe.cache) if recipe.cache else cache_folder() / "blocks"
    # Absolute: a process that refreshes the index may have been started elsewhere.
    path = Path(recipe.data, recipe.corpus).absolute()
    corpus = _blocks(path, recipe, tokenizer, cache)
    plan = RefreshPlan(str(path), recipe.max_documents or None, recipe.candidate_seq_len)
    if not recipe.sentences:
        return Sources(corpus, mark_sentences(corpus, recipe.masking, recipe.tagger, cache), plan)
    other = Path(recipe.data, recipe.sentences)
    if is_annotated(other):
        return Sources(corpus, open_annotated(other, recipe.masking, corpus.tokenizer_digest, cache), plan)
    blocks = _blocks(other, recipe, tokenizer, cache)
    return Sources(corpus, mark_sentences(blocks, recipe.masking, recipe.tagger, cache), plan)


def _blocks(path: Path, recipe: PretrainRecipe, tokenizer: PieceTokenizer, cache: Path) -> BlockSource:
    return open_blocks(path, tokenizer, cache, recipe.max_documents or None, max_pieces=recipe.candidate_seq_len)
