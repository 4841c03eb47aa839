"""Runs that end in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest

from realm.openqa import indexing
from realm.openqa.indexing import index_sources
from realm.openqa.model_folder import ModelFolder
from realm.openqa.writer import KnowledgeBaseWriter


def cut_short(kb: Path, source: Path, model: ModelFolder) -> None:
    """A run of `realm index` that ends right before it publishes, in small steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "_BLOCKS_PER_STEP", 1)
        patch.setattr(KnowledgeBaseWriter, "publish", lambda writer: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index_sources(kb, [source], model)
