"""`realm list` and `realm show`: the documents of a knowledge base."""

from __future__ import annotations

import dataclasses
import sys
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from realm.cli.options import JsonOption, KbOption, WhereOption
from realm.cli.output import one_line, print_json, printable, stderr
from realm.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("list")(list_)
    app.command()(show)


def list_(
    kb: KbOption = Path("kb"),
    where: WhereOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Most documents to list.")] = 100,
    json: JsonOption = False,
) -> None:
    """List documents: id, title and source, with tabs between them."""
    from realm.openqa.document_list import list_documents
    from realm.openqa.knowledge_base import KnowledgeBase

    base = KnowledgeBase.open(kb)
    documents = list_documents(base, where)
    shown = list(islice(documents, limit))
    total = base.manifest.documents if where is None else len(shown) + sum(1 for _ in documents)
    if json:
        version = base.manifest.version
        print_json({"version": version, "total": total, "documents": [dataclasses.asdict(one) for one in shown]})
        return
    for one in shown:
        print("\t".join(map(one_line, (one.id, one.title, one.source))))
    if total > len(shown):
        stderr.print(f"{len(shown):,} of {total:,} documents; for more: --limit {total}")


def show(
    document_id: Annotated[str, typer.Argument(help="As in evidence, or in realm list.")],
    kb: KbOption = Path("kb"),
    version: Annotated[
        int | None, typer.Option(min=1, help="As this version had it, such as document_version of evidence.")
    ] = None,
    start: Annotated[int, typer.Option("--from", min=0, help="First character to show.")] = 0,
    end: Annotated[int | None, typer.Option("--to", min=0, help="One past the last; the end unless given.")] = None,
    json: JsonOption = False,
) -> None:
    """Print a document's text, or a part of it: the characters that an answer's place counts."""
    from realm.openqa.knowledge_base import KnowledgeBase

    stored = KnowledgeBase.open(kb).stored_document(document_id, version)
    document = stored.document
    total = len(document.text)
    if start > total or (end is not None and not start <= end <= total):
        raise UsageError(
            f"{document_id!r} has {total:,} characters in version {stored.version}; found --from {start} "
            f"--to {total if end is None else end}. Give places in it, or the --version they were counted in."
        )
    text = document.text[start:end]
    if json:
        found = {"id": document.id, "title": document.title, "version": stored.version, "source": document.source}
        found |= {"metadata": dict(document.metadata), "start": start, "end": start + len(text)}
        print_json({**found, "total_characters": total, "text": text})
        return
    print(printable(text) if sys.stdout.isatty() else text)
