"""Who refreshes a run, who trains it, and whether they are alive.

    run/refresher/beat.json    whose it is, a count that goes up every few seconds, and what is being done
    run/trainer/beat.json      the same, with a count that goes up between steps; not a claim

The folder of the refresher is the claim: it appears by a rename, which succeeds for one process alone. The file in it
is replaced as a whole, again and again. Whoever wants to know whether its owner lives looks whether the count goes up,
by the clock of the machine that looks: two machines' clocks, and times of files, are never compared.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from realm.artifacts import write_json_atomically
from realm.errors import UsageError
from realm.training.whole_folders import remove_folder

TRAINER = "trainer"
_CLAIM = "refresher"
_BEAT = "beat.json"
_BEAT_SECONDS = 2.0
_SILENT_BEATS = 4


class Claim:
    """The right to refresh a run, and the heart that beats for it."""

    def __init__(self, run: Path, beat_seconds: float) -> None:
        self._folder = run / _CLAIM
        self._values = _first_beat(beat_seconds, "waiting for an export")
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="realm-heartbeat", daemon=True)

    def tell(self, doing: str) -> None:
        """Say with the next beat what is being done."""
        self._values["doing"] = doing

    def require(self) -> None:
        """Raise if another process has taken the claim, as after a long standstill of this one.

        Raises:
            UsageError: It has.
        """
        if self._lost:
            raise UsageError(f"{self._folder}: another process refreshes this run now; this one has stopped.")

    def _beat(self) -> None:
        while not self._stop.wait(self._values["every_seconds"]):
            self._lost = self._lost or not self._is_mine()
            if self._lost:
                return
            self._values["beats"] += 1
            try:
                write_json_atomically(self._folder / _BEAT, self._values)
            except OSError:
                continue  # a full disk, or a shared one that is away for a while; the next beat tries again

    def _is_mine(self) -> bool:
        found = read_beat(self._folder.parent)
        return found is not None and found.get("token") == self._values["token"]

    def _take(self) -> bool:
        """Put a folder of ours in place, if there is none."""
        fresh = self._folder.with_name(f".{_CLAIM}.{self._values['token']}.tmp")
        fresh.mkdir(parents=True)
        write_json_atomically(fresh / _BEAT, self._values)
        try:
            os.rename(fresh, self._folder)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            return False
        self._thread.start()
        return True

    def _give_up(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._is_mine():
            remove_folder(self._folder)


@contextmanager
def claimed(run: Path, beat_seconds: float = _BEAT_SECONDS) -> Iterator[Claim]:
    """Be the only refresher of a run until the end of the block, however it ends; a killed one is replaced.

    Args:
        run: The run folder.
        beat_seconds: How often to beat.

    Raises:
        UsageError: Another process refreshes this run and is alive.
    """
    claim = Claim(run, beat_seconds)
    try:
        while not claim._take():
            _require_dead(run)
            remove_folder(run / _CLAIM)
    except OSError as exc:
        raise UsageError(f"{run} cannot be written: {exc.strerror or exc}.") from exc
    try:
        yield claim
    finally:
        claim._give_up()


class TrainerBeat:
    """The sign of life that a trainer gives between its steps.

    Args:
        run: The run folder.
        beat_seconds: How often to beat at most.
    """

    def __init__(self, run: Path, beat_seconds: float = _BEAT_SECONDS) -> None:
        self._path = run / TRAINER / _BEAT
        self._values = _first_beat(beat_seconds, "training")
        self._last = -math.inf

    def beat(self, doing: str) -> None:
        """Give it, unless the last one was just now."""
        if time.monotonic() - self._last < self._values["every_seconds"]:
            return
        self._last = time.monotonic()
        self._values.update(beats=self._values["beats"] + 1, doing=doing)
        with suppress(OSError):  # a full disk stops training where it matters, not here
            self._path.parent.mkdir(exist_ok=True)
            write_json_atomically(self._path, self._values)


def read_beat(run: Path, whose: str = _CLAIM) -> dict[str, Any] | None:
    """The last beat; None if there is none."""
    try:
        found: dict[str, Any] = json.loads((run / whose / _BEAT).read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):
        return None


class HeartbeatWatch:
    """Watches from another process, by this machine's clock.

    Args:
        run: The run folder.
        whose: Beats of the refresher, or of the `TRAINER`.
    """

    def __init__(self, run: Path, whose: str = _CLAIM) -> None:
        self._run, self._whose = run, whose
        self._last: tuple[Any, Any] | None = None
        self._since = time.monotonic()
        self.doing = ""
        self.who = f"no {whose} has been seen"

    def silent_seconds(self) -> float:
        """How long it is since the last new beat that was seen here, or since this watch began."""
        beat = read_beat(self._run, self._whose)
        key = None if beat is None else (beat.get("token"), beat.get("beats"))
        if beat is not None and key != self._last:
            self._last, self._since = key, time.monotonic()
            self.doing = str(beat.get("doing"))
            self.who = f"process {beat.get('pid')} on {beat.get('host')}, last seen {self.doing}"
        return time.monotonic() - self._since

    def has_ended(self) -> bool:
        """Whether the owner of the last beat is known to have ended: it was a process of this machine, and is gone."""
        beat = read_beat(self._run, self._whose)
        return beat is not None and _is_gone(beat)


def _require_dead(run: Path) -> None:
    """Look for a few beats whether the owner of the claim lives.

    Raises:
        UsageError: It does.
    """
    beat = read_beat(run)
    if beat is None or _is_gone(beat):
        return
    watch = HeartbeatWatch(run)
    watch.silent_seconds()
    patience = _SILENT_BEATS * float(beat.get("every_seconds", _BEAT_SECONDS))
    while (silent := watch.silent_seconds()) < patience:
        now = read_beat(run)
        if now is None:
            return
        if (now.get("token"), now.get("beats")) != (beat.get("token"), beat.get("beats")):
            raise UsageError(
                f"{run} is being refreshed already, by process {now.get('pid')} on {now.get('host')} "
                f"({now.get('doing')}). One refresher is enough; stop that one first."
            )
        time.sleep(min(0.1, patience - silent))


def _is_gone(beat: dict[str, Any]) -> bool:
    """Whether the owner is known to have ended: a process of this very machine, of which there is none."""
    if not beat.get("machine") or beat.get("machine") != _machine():
        return False
    try:
        os.kill(int(beat["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _first_beat(beat_seconds: float, doing: str) -> dict[str, Any]:
    return {
        "token": uuid.uuid4().hex, "machine": _machine(), "host": platform.node(), "pid": os.getpid(),
        "every_seconds": beat_seconds, "beats": 0, "doing": doing,
    }  # fmt: skip


def _machine() -> str:
    """Names this start of this machine, and its numbering of processes; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
