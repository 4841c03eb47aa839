"""What a run of indexing has done so far: handed out after every step, and at the end."""

from __future__ import annotations

from dataclasses import dataclass

from realm.corpus.skips import SkipReport
from realm.openqa.estimate import Estimate
from realm.openqa.manifest import Manifest


@dataclass
class IndexReport:
    """What a run of indexing did.

    Attributes:
        added: New documents.
        updated: Documents whose content had changed.
        unchanged: Documents that were there already.
        moved: Those of them that came from another place this time.
        removed: Documents that the sources did not have.
        blocks: Blocks of new and changed documents.
        embedded: Blocks embedded.
        late: How many of those that have to be embedded were stored without vectors; 0 until the sources are read.
        characters_seen: Characters of documents done with.
        characters: Characters of all documents of the sources; reckoned from file sizes where these are large.
        seconds: Time since the first document was cut.
        resumed: Whether a run that was cut short was gone on with.
        discarded_blocks: Blocks of a run over other sources that was cut short; they are lost.
        estimate: What the run will take; None until the first step is done.
        skipped: Records left out, by reason.
        manifest: The published version; None until then.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0
    removed: int = 0
    blocks: int = 0
    embedded: int = 0
    late: int = 0
    characters_seen: int = 0
    characters: int = 0
    seconds: float = 0.0
    resumed: bool = False
    discarded_blocks: int = 0
    estimate: Estimate | None = None
    skipped: SkipReport | None = None
    manifest: Manifest | None = None
