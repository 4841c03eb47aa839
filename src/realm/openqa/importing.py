"""REALM's releases, made into knowledge bases with their vectors.

Release ── model ─────────────────────► model folder
   ├────── records, titles ─► documents of one block each ─┐
   └────── block_emb, row by row, in half precision ───────┴─► KnowledgeBaseWriter
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from realm.corpus.chunking import ChunkedDocument, document_hash
from realm.corpus.cutting import block_id_of
from realm.corpus.pieces import WordPieces, ids
from realm.corpus.skips import SkipReport
from realm.errors import ModelError, UsageError
from realm.interop.release import Release, documents_with_vectors
from realm.interop.staging import staged_folder
from realm.models.checkpoints import Checkpoint
from realm.models.configuration import RealmConfig
from realm.openqa.indexing import MAX_BLOCK_PIECES
from realm.openqa.manifest import PUBLISHED, Manifest
from realm.openqa.model_choice import model_beside
from realm.openqa.model_folder import ModelFolder
from realm.openqa.write_lock import take_lock
from realm.openqa.writer import KnowledgeBaseWriter
from realm.records import Block, Document
from realm.text.pieces import longest_title

_ROWS_PER_STEP = 8192
Progress = Callable[[int, int, int, float], None]
"""Is told, after every step: what is done, of how much in all, how many blocks that are, and seconds so far."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        documents: How many there are in the knowledge base now.
        blocks: How many blocks were written.
        seconds: Time it took.
        manifest: The published version.
        skipped: Records left out, by reason.
    """

    documents: int
    blocks: int
    seconds: float
    manifest: Manifest
    skipped: SkipReport = field(default_factory=SkipReport)


def import_release(
    release: Release,
    kb: Path,
    model_out: Path | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Make a model folder and a knowledge base of a published REALM. Nothing is embedded.

    Record n becomes the document `n` with one block, which is all of it; its vector is row n of block_emb,
    rounded to half precision. Records are taken as they are: a "[SEP]" in one is text. Titles stand in a file
    of their own, which transformers 4.37.2 does not know; without it they are empty.

    Both folders appear when all is written; after an error neither is there.

    Args:
        release: What was published.
        kb: The knowledge base to be made.
        model_out: Folder of its model; by default `KB-model`.
        force: Replace a knowledge base and a model that are there.
        progress: Called after every step.

    Raises:
        SourceError: A file is damaged, a record is not UTF-8, or counts of records, titles and vectors differ.
        ModelError: The weights are not those of an Open-QA model, or a vector is not finite.
        UnsafeFileError: A file asks for code to be run.
        UsageError: A folder is there already.
        BusyError: Another process is writing the knowledge base that is to be replaced.

    Source: google-research `language/orqa`, where blocks.tfr holds bodies and titles.tfr titles.
    Differs: documents that are added later are embedded by the released question embedder, which fine-tuning
        has moved away from the one that made block_emb.
    """
    model_out = (model_out or model_beside(kb)).resolve()
    _require_apart(release.folder.resolve(), kb.resolve(), model_out)
    begin = time.monotonic()
    with ExitStack() as stack:
        if force and (kb / PUBLISHED).is_file():
            stack.enter_context(take_lock(kb))
        # Order: the last one entered is left first, so the model is in its place before the manifest that names it.
        kb_staged = stack.enter_context(staged_folder(kb, marker=PUBLISHED, force=force))
        model_staged = stack.enter_context(staged_folder(model_out, marker="model.safetensors", force=force))
        release.write_model(model_staged)
        model = ModelFolder.open(str(model_staged))
        reference = dataclasses.replace(model.reference, name=str(model_out))
        max_pieces = min(MAX_BLOCK_PIECES, _require_whole(model))
        with KnowledgeBaseWriter(kb_staged, reference, release.dim, max_pieces) as writer:
            pieces = WordPieces(model.tokenizer)
            blocks = 0
            for documents, vectors in documents_with_vectors(release, _ROWS_PER_STEP):
                writer.put(_whole(documents, pieces, max_pieces), vectors, replaced={})
                blocks += len(documents)
                if progress is not None:
                    progress(blocks, release.rows, blocks, time.monotonic() - begin)
            manifest = writer.publish()
    return ImportReport(manifest.documents, blocks, time.monotonic() - begin, manifest)


def _require_apart(source: Path, *made: Path) -> None:
    """Refuse to write over what is read, or one folder into another."""
    for place, folder in enumerate(made):
        others = [source, *(other for other in made[place + 1 :])]
        for other in others:
            if other.is_relative_to(folder) or (other is not source and folder.is_relative_to(other)):
                raise UsageError(f"{folder} and {other} are in one another; give folders that are apart.")


def _require_whole(model: ModelFolder) -> int:
    """Load the networks once, which shows whether all weights are there and fit; gives their longest input.

    Raises:
        ModelError: They do not.
    """
    weights = len(Checkpoint(model.folder))
    layers = RealmConfig.from_pretrained(model.folder).num_hidden_layers
    if not 0 < layers < weights:  # building them would take forever
        raise ModelError(f"The config says num_hidden_layers={layers}, and there are {weights} weights.")
    return int(model.networks.config.max_position_embeddings)


def _whole(documents: list[Document], pieces: WordPieces, max_pieces: int) -> list[ChunkedDocument]:
    """Documents with one block each, which is all of the document."""
    bodies = pieces.of_texts([document.text for document in documents])
    titles = pieces.of_texts([document.title for document in documents])
    cuts = []
    for document, body, title in zip(documents, bodies, titles, strict=True):
        content, end = document_hash(document), len(document.text)
        block_id = block_id_of(document.id, content, 0, end)
        block = Block(block_id, document.id, document.title, 0, end, document.text, ids(body))
        cuts.append(ChunkedDocument(document, content, ids(title)[: longest_title(max_pieces)], (block,)))
    return cuts
