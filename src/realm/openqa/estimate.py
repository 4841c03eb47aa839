"""What a long run of indexing will take, told before it goes on."""

from __future__ import annotations

from dataclasses import dataclass

from realm.openqa.memory import format_bytes

WORTH_TELLING_SECONDS = 20.0


@dataclass(frozen=True)
class Estimate:
    """What a run will take in all, reckoned from its first step.

    Attributes:
        documents: New and changed documents; None where blocks of all documents are there already.
        characters: Their characters; None likewise.
        blocks: Blocks they will be cut into.
        disk_bytes: What these will take on disk.
        memory_bytes: What the process holds now; it will not grow with the number of documents.
        seconds: How long what is left will take.
    """

    documents: int | None
    characters: int | None
    blocks: int
    disk_bytes: int
    memory_bytes: int
    seconds: float

    @property
    def is_worth_telling(self) -> bool:
        """Whether somebody would rather know before waiting."""
        return self.seconds > WORTH_TELLING_SECONDS

    def summary(self) -> str:
        """One line for people."""
        blocks = f"{self.blocks:,} blocks"
        if self.documents is not None:
            blocks = f"{self.documents:,} documents of {self.characters:,} characters, about {blocks}"
        return (
            f"to do: {blocks}; about {format_bytes(self.disk_bytes)} on disk, "
            f"{format_bytes(self.memory_bytes)} of memory, {_duration(self.seconds)}"
        )


def estimate(
    documents: int, characters: int, *, done_characters: int, done_blocks: int, done_bytes: int, seconds: float,
    memory_bytes: int,
) -> Estimate:  # fmt: skip
    """Reckon from what has been done what there is to do.

    Args:
        documents: New and changed documents, done or not.
        characters: Their characters.
        done_characters: Characters of those that are done.
        done_blocks: Blocks they were cut into.
        done_bytes: What these take on disk.
        seconds: How long that took.
        memory_bytes: What the process holds now.
    """
    times = characters / done_characters if done_characters else 1.0
    return Estimate(
        documents,
        characters,
        round(done_blocks * times),
        round(done_bytes * times),
        memory_bytes,
        seconds * max(times - 1.0, 0.0),
    )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:,.0f} seconds"
    return f"{minutes:,} minutes" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"
