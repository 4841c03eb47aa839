"""Work in several processes: in order, bounded, told when one dies, and none left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import steady_work

import realm
from realm.corpus.processes import map_in_processes
from realm.errors import ModelError, UsageError


def is_running(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_results_come_in_order_whichever_is_ready_first() -> None:
    seconds = [0.3, 0.0, 0.1, 0.0, 0.0]
    assert list(map_in_processes(steady_work.sleeper, seconds, 2)) == list(zip(seconds, seconds, strict=True))
    assert multiprocessing.active_children() == []


def test_items_are_taken_no_further_ahead_than_two_for_each_process() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    results = map_in_processes(steady_work.doubler, items(), 2)
    assert next(results) == (0, 0)
    assert taken == [0, 1, 2, 3]
    assert list(results) == [(number, 2 * number) for number in range(1, 20)]


def test_nothing_is_started_for_no_items() -> None:
    assert list(map_in_processes(steady_work.unmade, [], 2)) == []


def test_killed_process_is_told_and_no_other_is_left() -> None:
    results = map_in_processes(steady_work.killed_at_three, range(10), 2)
    with pytest.raises(UsageError, match=r"was killed by signal 9 before its work was done.*fewer processes"):
        list(results)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("make", [steady_work.failing_at_three, steady_work.unmade])
def test_error_in_a_process_is_raised_here_as_it_is(make: object) -> None:
    with pytest.raises(ModelError) as caught:
        list(map_in_processes(make, range(10), 2))  # type: ignore[arg-type]
    assert str(caught.value) in ("three is too many", "cannot be made")
    assert "steady_work.py" in caught.value.__notes__[0]
    assert multiprocessing.active_children() == []


def test_error_of_the_items_ends_the_processes() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(map_in_processes(steady_work.doubler, items(), 2))
    assert multiprocessing.active_children() == []


def test_closing_ends_processes_at_work() -> None:
    results = map_in_processes(steady_work.sleeper, [0.0, *[600.0] * 9], 2)
    next(results)
    begin = time.monotonic()
    results.close()
    assert time.monotonic() - begin < 60
    assert multiprocessing.active_children() == []


def test_processes_do_not_answer_ctrl_c_even_where_no_process_was_started_before() -> None:
    code = "; ".join(
        (
            "import signal, steady_work",
            "from realm.corpus.processes import map_in_processes",
            "signal.signal(signal.SIGINT, signal.default_int_handler)",
            "print([result for _, result in map_in_processes(steady_work.interrupted, range(5), 2)])",
        )
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.stderr) == ("[0, 1, 2, 3, 4]\n", "")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_run_that_is_stopped_leaves_no_process(stop: signal.Signals, tmp_path: Path) -> None:
    # What a shell starts in the background ignores Ctrl-C, and so would all that it starts.
    code = (
        "import sys, pathlib, signal, steady_work; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "steady_work.echo(pathlib.Path(sys.argv[1]))"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment(),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_until((tmp_path / "ready").exists)
        if stop is signal.SIGINT:  # as a terminal does it: to the whole group
            os.killpg(run.pid, stop)
        else:
            run.send_signal(stop)
        _, errors = run.communicate(timeout=60)
        helpers = [int(path.name) for path in tmp_path.iterdir() if path.name.isdecimal()]
        assert helpers
        wait_until(lambda: not any(map(is_running, helpers)))
        assert errors.count(b"Traceback") <= 1  # of the run itself; its processes keep quiet
    finally:
        run.kill()
        run.wait()


def environment() -> dict[str, str]:
    """That of a Python which imports realm and the functions beside this file."""
    paths = [str(Path(realm.__file__).parents[1]), str(Path(__file__).parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def wait_until(is_true: object, seconds: float = 60.0) -> None:
    assert callable(is_true)
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.02)
