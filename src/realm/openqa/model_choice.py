"""Which model a knowledge base is asked with: the one it names, or the same where it is now."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from realm.errors import ModelError
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder


def model_beside(kb: Path) -> Path:
    """Where the model of an imported knowledge base is put unless said: beside it."""
    kb = kb.resolve()
    return kb.with_name(f"{kb.name}-model")


def model_for(base: KnowledgeBase, name: str | None = None) -> ModelFolder:
    """Open the model of a knowledge base; where its folder has been moved with the knowledge base, also there.

    Args:
        base: The knowledge base.
        name: Another model with the same embedder of blocks; the one it was made with unless given.

    Raises:
        ModelError: It is not where it was, nor beside the knowledge base.
    """
    made_with = base.manifest.model
    try:
        return ModelFolder.open(name or made_with.name)
    except ModelError as exc:
        if name is not None:
            raise
        beside = model_beside(base.folder)
        with suppress(ModelError):
            found = ModelFolder.open(str(beside))
            if found.reference.digest == made_with.digest:
                return found
        raise ModelError(
            f"{base.folder} was made with the model {made_with.name}, which is not there, nor at {beside}. "
            "Say where it is with --model FOLDER."
        ) from exc
