"""A process that has loaded what `realm` needs, and forks a child for each command: loading takes seconds each time.

    python forking_realm.py SOCKET       prints a line when it is ready, and serves until standard input ends

A client connects, sends {"argv", "folder", "environment"} with its three standard files, and gets the exit code. Lance
does not survive a fork, so only children open anything.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import traceback

import transformers.models.bert.modeling_bert  # noqa: F401 - loaded for the children

import realm.cli.main
import realm.openqa.ask
import realm.openqa.indexing
import realm.training.loop

_MOST_BYTES = 1 << 20


def run(told: dict[str, object], files: list[int]) -> int:
    """The command, in a child; gives its exit code."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(str(told["folder"]))
    os.environ.clear()
    os.environ.update(told["environment"])  # type: ignore[call-overload]
    sys.argv = ["realm", *told["argv"]]  # type: ignore[misc]
    try:
        return realm.cli.main.main()
    except SystemExit as exc:
        return int(exc.code or 0)


def answer(client: socket.socket) -> None:
    """Run one client's command in a child, and tell how it ended."""
    message, files, _, _ = socket.recv_fds(client, _MOST_BYTES, 3)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run(json.loads(message), files)
        except BaseException:  # noqa: BLE001 - there is nobody above
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    for file in files:
        os.close(file)
    client.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def main(path: str) -> None:
    """Serve one client after another."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            client, _ = server.accept()
            with client:
                answer(client)


if __name__ == "__main__":
    main(sys.argv[1])
