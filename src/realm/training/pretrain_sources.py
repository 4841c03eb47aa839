"""What `pretrain` reads: the corpus that is retrieved from, and the sentences that are masked.

Knows recipes and sources, no networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from realm.text.pieces import PieceTokenizer
from realm.training.annotated_blocks import annotated_files
from realm.training.block_source import BlockSource
from realm.training.distributed import Processes
from realm.training.exports import RefreshPlan
from realm.training.job_report import QUIET, JobReport
from realm.training.pretrain_recipe import PretrainRecipe
from realm.training.pretrain_sentences import SentenceSource, mark_sentences, open_annotated


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


def open_sources(
    recipe: PretrainRecipe, tokenizer: PieceTokenizer, processes: Processes, report: JobReport = QUIET
) -> Sources:
    """Open what a recipe names; the first process makes what is not in the cache yet, and the others wait.

    Args:
        recipe: See `PretrainRecipe`.
        tokenizer: Of the encoder.
        processes: Those that train.
        report: Is told how it goes.

    Raises:
        SourceError: A source is missing, damaged or empty, or no block has a name or a date.
        RecipeError: There is no such tagger.
    """
    return processes.first_alone(lambda: _open(recipe, tokenizer, report))


def _open(recipe: PretrainRecipe, tokenizer: PieceTokenizer, report: JobReport) -> Sources:
    cache, max_pieces, marking = recipe.cache_path, recipe.candidate_seq_len, report.opening_of("looking for names")
    corpus = recipe.open_corpus(recipe.corpus, tokenizer, max_pieces, report)
    # Absolute: a process that refreshes the index may have been started elsewhere.
    plan = RefreshPlan(str(Path(recipe.data, recipe.corpus).absolute()), recipe.max_documents or None, max_pieces)
    if not recipe.sentences:
        return Sources(corpus, mark_sentences(corpus, recipe.masking, recipe.tagger, cache, marking), plan)
    other = Path(recipe.data, recipe.sentences)
    if files := annotated_files(other):
        return Sources(corpus, open_annotated(files, recipe.masking, corpus.tokenizer_digest, cache), plan)
    blocks = recipe.open_corpus(recipe.sentences, tokenizer, max_pieces, report)
    return Sources(corpus, mark_sentences(blocks, recipe.masking, recipe.tagger, cache, marking), plan)
