"""What a command gave back; the fixture `realm` runs one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Said(NamedTuple):
    """What a command gave back and printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]
