"""A knowledge base of short stories, for tests that look for passages in one."""

from __future__ import annotations

from pathlib import Path

from tiny_model import stories, write_jsonl, write_tiny_model

from realm.openqa.ask import OpenQA
from realm.openqa.indexing import index_sources
from realm.openqa.model_folder import ModelFolder

TOLD = stories(30, seed=4, sentences=2)


def told_stories(folder: Path) -> OpenQA:
    """The stories, indexed in a folder by a tiny model."""
    model = ModelFolder.open(str(write_tiny_model(folder / "model")))
    index_sources(folder / "kb", [write_jsonl(folder / "stories.jsonl", TOLD)], model)
    return OpenQA.load(folder / "kb")
