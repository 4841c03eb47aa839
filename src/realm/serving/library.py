"""The version of the knowledge base that answers, and how a newer one takes its place.

    kb.json changed ─► open beside the old one ─► one question on the model's thread ─► in its place
                            └─ cannot be opened: the old one stays, and the log and the metrics say so

Whoever holds the old version goes on with it; it is closed when nobody does. Knows no HTTP and no queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import numpy as np

from realm.openqa.ask import OpenQA
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.manifest import PUBLISHED
from realm.openqa.model_choice import model_for
from realm.openqa.model_folder import ModelFolder
from realm.serving.limits import Limits
from realm.serving.logs import say
from realm.serving.metrics import Metrics

WARM_UP = "What is this about?"

_Stamp = tuple[tuple[int, int, int], ...]


class Library:
    """One knowledge base, open at the version that answers.

    Args:
        folder: The knowledge base.
        on_model: Runs a function on the thread that owns the model.
        limits: How often to look.
        metrics: Told of versions.
        model: A model with the same embedder of blocks; the one that a version names unless given.

    Raises:
        KnowledgeBaseError: There is no complete knowledge base, or its model has changed.
        ModelError: Its model cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        on_model: Callable[[Callable[[], None]], Future[None]],
        limits: Limits,
        metrics: Metrics,
        model: str | None = None,
    ) -> None:
        self.folder = folder
        self._model_name = model
        self._on_model = on_model
        self._limits = limits
        self._metrics = metrics
        self._seen = _stamp(folder / PUBLISHED)
        self._model: tuple[_Stamp, ModelFolder] | None = None
        self._current = self._open()
        self._model_of(self._current.knowledge_base).networks  # noqa: B018 - a damaged model is found now
        self._is_ready = False
        self._failed: tuple[_Stamp, float] | None = None
        self._looking = threading.Lock()
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="realm-watch", daemon=True)

    @property
    def current(self) -> OpenQA:
        """What answers now. Hold on to it for as long as one version is needed."""
        return self._current

    @property
    def is_ready(self) -> bool:
        """Whether there was a first real answer."""
        return self._is_ready

    @property
    def is_behind(self) -> bool:
        """Whether there is a newer version that could not be opened."""
        return self._failed is not None

    def start(self) -> None:
        """Ask the first question, and begin to look for newer versions."""
        self._watcher.start()

    def close(self) -> None:
        """Stop looking."""
        self._ended.set()
        if self._watcher.ident is not None:
            self._watcher.join()

    def look(self) -> None:
        """Move to the newest version now, if it is not the one that answers. Not for the model's thread."""
        with self._looking:
            while (stamp := _stamp(self.folder / PUBLISHED)) != self._seen:
                if self._failed is not None and self._failed[0] == stamp and time.monotonic() < self._failed[1]:
                    return
                try:
                    self._move()
                except Exception as exc:  # noqa: BLE001 - whatever it is, the old version goes on
                    self._complain(stamp, exc)
                    return
                self._seen, self._failed = stamp, None

    def renew(self) -> bool:
        """Like `look`, for the model's thread, when the version that answers is not whole any more.

        Returns:
            Whether another version answers now.
        """
        try:
            fresh = self._open()
        except Exception as exc:  # noqa: BLE001 - the caller reports what led here
            say("version not opened", level=logging.ERROR, reason=str(exc))
            return False
        before = self._current
        self._adopt(fresh)
        return self._current is not before

    def _watch(self) -> None:
        while True:
            if not self._is_ready:
                self._warm_up()
            self.look()
            if self._ended.wait(self._limits.poll_seconds):
                return

    def _warm_up(self) -> None:
        def ask() -> None:
            self._current.ask(WARM_UP, top=1)

        try:
            self._on_model(ask).result()
        except Exception as exc:  # noqa: BLE001 - not ready yet; tried again at the next look
            say("first question failed", level=logging.ERROR, error=exc)
            return
        self._is_ready = True
        self._metrics.ready()
        manifest = self._current.knowledge_base.manifest
        self._metrics.version(manifest.version, manifest.documents)
        say("ready", version=manifest.version, documents=manifest.documents, model=self._current.model.name)

    def _move(self) -> None:
        fresh = self._open()
        if fresh.knowledge_base.manifest != self._current.knowledge_base.manifest:
            self._on_model(partial(self._adopt, fresh)).result()

    def _adopt(self, fresh: OpenQA) -> None:
        """Put a version in the place of the one that answers. On the model's thread, so between two batches."""
        new, old = fresh.knowledge_base.manifest, self._current.knowledge_base.manifest
        if new == old:
            return
        fresh.ask(WARM_UP, top=1)
        self._current = fresh
        self._metrics.version(new.version, new.documents)
        self._metrics.swap(failed=False)
        say("swapped", version=new.version, from_version=old.version, documents=new.documents)

    def _complain(self, stamp: _Stamp, exc: Exception) -> None:
        self._failed = (stamp, time.monotonic() + self._limits.retry_seconds)
        self._metrics.swap(failed=True)
        version = self._current.knowledge_base.manifest.version
        say("swap failed", level=logging.ERROR, version=version, reason=str(exc), kind=type(exc).__name__)

    def _open(self) -> OpenQA:
        """The newest version, with all its files open, so that its first question waits for none of them."""
        base = KnowledgeBase.open(self.folder)
        opened = OpenQA(base, self._model_of(base), hides_folders=True)
        _ = base.documents, base.blocks, opened.model.calibration
        if base.manifest.is_embedded:
            base.search(np.zeros((1, base.manifest.dim), dtype=np.float32), 1)
        return opened

    def _model_of(self, base: KnowledgeBase) -> ModelFolder:
        """The model of a version: the one that is in memory already, unless its files have changed."""
        found = model_for(base, self._model_name)
        stamp = _stamp(*(path for path in sorted(found.folder.iterdir()) if path.is_file()))
        if self._model is None or self._model[0] != stamp or self._model[1].name != found.name:
            self._model = (stamp, found)
        return self._model[1]


def _stamp(*paths: Path) -> _Stamp:
    """Changes when one of the files is replaced; zeros where it is missing."""
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            found.append((0, 0, 0))
        else:
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)
