"""The command `realm`: puts the groups together and turns errors into one line and an exit code.

Torch and transformers are imported by the commands that need them, never here.
"""

from __future__ import annotations

import os
import sys

import typer
from click.exceptions import Abort, ClickException

import realm.cli.answering
import realm.cli.knowledge
import realm.cli.training
from realm.errors import MissingExtraError, UsageError

EXIT_USAGE = 2

app = typer.Typer(
    name="realm",
    help="Answers from documents you own: a span of a document, where it stands, and how sure the model is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
realm.cli.answering.add_to(app)
realm.cli.knowledge.add_to(app)
realm.cli.training.add_to(app)


def main() -> int:
    """Run the command line.

    Returns:
        0 done; 2 the caller's mistake, told in one line. A bug of ours is raised as it is (exit code 1).
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        result = app(standalone_mode=False)
    except (UsageError, MissingExtraError) as exc:
        return _complain(str(exc))
    except ClickException as exc:
        return _complain(exc.format_message())
    except (Abort, KeyboardInterrupt):
        return _complain("stopped; nothing that was complete is lost.")
    return result if isinstance(result, int) else 0


def _complain(message: str) -> int:
    print(f"realm: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USAGE
