"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def given_path(text: str | Path) -> Path:
    """A path of the command line. An empty one would be the current folder, and is more likely an empty variable."""
    if text == "":
        raise typer.BadParameter('found ""; give a path, such as . for the current folder')
    return Path(text)


KbOption = Annotated[
    Path, typer.Option("--kb", parser=given_path, metavar="<path>", help="Folder of the knowledge base.")
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Model folder with the same embedder of blocks; default: the one it was made with."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object and nothing else.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
SkipBadOption = Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable records out.")]
MaxRamOption = Annotated[str | None, typer.Option("--max-ram", help="Most memory to take, such as 2GB.")]
DiscardOption = Annotated[
    bool, typer.Option("--discard-pending", help="Throw away what another run, which was stopped, has embedded.")
]
WordsOnlyOption = Annotated[
    bool,
    typer.Option(
        "--words-only", help="Make passages findable by their words now, and leave their vectors to: realm embed."
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Only documents for which this holds, such as: source = 'x' AND year >= 1990. "
        "Columns are id, title, source (a file, or file:line), version and the keys of the metadata.",
    ),
]
HybridOption = Annotated[
    bool | None,
    typer.Option(
        "--hybrid/--dense",
        help="Find passages by vectors and words, or by vectors alone; by default as the knowledge base says.",
        show_default=False,
    ),
]
WeightOption = Annotated[
    float | None,
    typer.Option(
        "--weight", min=0.0, max=1.0, help="Share of the words in finding passages: 0 is --dense, 1 words alone."
    ),
]
