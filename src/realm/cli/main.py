"""The command `realm`: puts the groups together and turns errors into one line and an exit code.

Torch and transformers are imported by the commands that need them, never here.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Annotated, cast

import typer

import realm
import realm.cli.answering
import realm.cli.calibration
import realm.cli.documents
import realm.cli.evaluation
import realm.cli.exchange
import realm.cli.info
import realm.cli.knowledge
import realm.cli.refresh
import realm.cli.serving
import realm.cli.training
from realm.cli.output import stdout
from realm.errors import MissingExtraError, UsageError

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="realm",
    help="Answers from documents you own: a span of a document, where it stands, and how sure the model is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _say_version(asked: bool) -> None:
    if asked:
        stdout.print(f"realm {realm.__version__}")
        raise typer.Exit


@app.callback()
def _before_any_command(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    pass


realm.cli.answering.add_to(app)
realm.cli.knowledge.add_to(app)
realm.cli.documents.add_to(app)
realm.cli.info.add_to(app)
realm.cli.serving.add_to(app)
realm.cli.exchange.add_to(app)
realm.cli.evaluation.add_to(app)
realm.cli.calibration.add_to(app)
realm.cli.training.add_to(app)
realm.cli.refresh.add_to(app)


def main() -> int:
    """Run the command line.

    Returns:
        0 done; 2 the caller's mistake, told in one line; 130 stopped with Ctrl-C. A bug of ours is raised as it is
        (exit code 1).
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("LANCE_LOG", "error")
    for stream in (sys.stdout, sys.stderr):
        # Texts hold signs that a terminal may not have. A stream that cannot be told so stays as it is.
        with suppress(AttributeError, OSError):
            cast(io.TextIOWrapper, stream).reconfigure(errors="backslashreplace")
    try:
        result = app(prog_name="realm", standalone_mode=False)
        sys.stdout.flush()
    except (UsageError, MissingExtraError) as exc:
        return _complain(str(exc))
    except typer.TyperException as exc:
        return _complain(_with_help_line(exc))
    except (typer.Abort, KeyboardInterrupt):
        result = EXIT_INTERRUPTED
    except OSError as exc:
        if exc.errno != errno.ENOSPC or exc.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or else the rest would fail when the process ends
        return _complain("the output cannot be written: no space is left where it goes.")
    if result == EXIT_INTERRUPTED:  # typer gives this for Ctrl-C, too
        return _complain("stopped; nothing that was complete is lost.", EXIT_INTERRUPTED)
    return result if isinstance(result, int) else 0


def _with_help_line(exc: typer.TyperException) -> str:
    """What is wrong with the options, and where they are explained. Empty if the help has been shown already."""
    message = exc.format_message().strip()
    context = getattr(exc, "ctx", None)
    return message if not message or context is None else f"{message.rstrip('.')}. See: {context.command_path} --help"


def _complain(message: str, exit_code: int = EXIT_USAGE) -> int:
    if message:
        print(f"realm: {' '.join(message.split())}", file=sys.stderr)
    return exit_code
