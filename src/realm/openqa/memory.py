"""How much memory this process has taken, and how much it may take."""

from __future__ import annotations

import gc
import re
import resource
import sys
from pathlib import Path

from realm.errors import UsageError

_LEAST_BLOCKS = 16
_BYTES_PER_BLOCK = 64_000
"""A block with its text, ids, input and vector, in several copies."""
_STEP_BYTES = 250_000_000
"""What reading, cutting, embedding and writing hold besides, whatever the number of blocks."""
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_bytes(text: str) -> int:
    """A size such as `2GB`, `500M` or `1.5GiB`, in bytes; K, M and G are powers of 1,000, with an i of 1,024.

    Raises:
        UsageError: It is none.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no size in bytes. Give one such as 2GB or 500M.")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.upper()])


def format_bytes(count: float) -> str:
    """For people: `1.2 GB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" or count >= 100 else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def resident_bytes() -> int:
    """Memory this process holds now; where the system does not say, the most it has held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * resource.getpagesize()


def room(max_bytes: int | None, most: int) -> int:
    """How much more memory may be taken: what the limit leaves, and never above `most`."""
    return most if max_bytes is None else max(0, min(most, max_bytes - resident_bytes()))


class MemoryLimit:
    """Keeps a run below a number of bytes, by the size of its steps.

    Attributes:
        blocks_per_step: How many blocks to work on at once.
    """

    def __init__(self, max_bytes: int | None, blocks_per_step: int) -> None:
        """Call it when the model is loaded.

        Args:
            max_bytes: The most the process may hold; no limit if None.
            blocks_per_step: How many blocks to work on at once where there is room.

        Raises:
            UsageError: Not even the smallest step has room.
        """
        self.max_bytes = max_bytes
        self.blocks_per_step = blocks_per_step
        if max_bytes is None:
            return
        held = resident_bytes()
        least = held + _STEP_BYTES + _LEAST_BLOCKS * _BYTES_PER_BLOCK
        if max_bytes < least:
            raise UsageError(
                f"--max-ram {format_bytes(max_bytes)} is too little: model and libraries hold {format_bytes(held)}, "
                f"and the smallest step needs {format_bytes(least - held)} more. Give --max-ram {_rounded_up(least)}."
            )
        self.blocks_per_step = min(blocks_per_step, (max_bytes - held - _STEP_BYTES) // _BYTES_PER_BLOCK)

    def check(self) -> None:
        """Look how much is held after a step; make the next ones smaller if it was too much.

        Raises:
            UsageError: They are as small as they can be.
        """
        if self.max_bytes is None or (held := resident_bytes()) <= self.max_bytes:
            return
        if self.blocks_per_step <= _LEAST_BLOCKS:
            raise UsageError(
                f"--max-ram {format_bytes(self.max_bytes)} cannot be kept: {format_bytes(held)} are held with the "
                f"smallest steps. What is done is kept; go on with the same line and --max-ram {_rounded_up(held)}."
            )
        self.blocks_per_step = max(self.blocks_per_step // 2, _LEAST_BLOCKS)
        gc.collect()


def _rounded_up(count: int) -> str:
    return f"{-(-count // 100_000_000) / 10:.1f}GB"
