"""Whatever stands in a file: documents, or one clear line; never another exception."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from formats import RECORDS, WHOLE_FILE_SUFFIXES, compressed, file_of_records, whole_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realm.corpus.readers import DOCUMENT_SUFFIXES, read_documents
from realm.corpus.skips import SkipReport
from realm.errors import SourceError
from realm.records import Document

DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">
<siteinfo><sitename>Wikipedia</sitename><dbname>enwiki</dbname></siteinfo>
<page><title>River</title><ns>0</ns><id>7</id><revision><id>8</id>
<model>wikitext</model><format>text/x-wiki</format>
<text bytes="99" xml:space="preserve">A '''river''' is a [[stream]] of water that flows to the sea.</text>
</revision></page>
</mediawiki>"""
ODD_PIECES = [
    *(b"", b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"'", b"<", b"</", b"<!--", b"&#0;", b"&#xd800;", b"{", b"[" * 999),
    *(b"\r", b"\n", b"\xef\xbb\xbf", b"\xff\xfe", b",", b"\t", b"\\ud800", b"1e999", b"9" * 5000, b"<pre>", b"</p>"),
    *(
        b"<meta charset=utf-7>",
        b"<meta charset=hex>",
        b"<meta charset=idna>",
        b"<nav>",
        b"<title>",
        b"NaN",
        b"\x1f\x8b",
    ),
]


def sample(suffix: str) -> bytes:
    if suffix.startswith(".xml"):
        return whole_file(suffix, DUMP)
    return whole_file(suffix, RECORDS[0]["text"]) if suffix in WHOLE_FILE_SUFFIXES else file_of_records(suffix)


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """A file with some bytes changed, cut out, put in, or cut off."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["flip", "put in", "take out", "cut off", "repeat"]))
        end = min(len(data), start + draw(st.integers(0, 200)))
        if kind == "flip" and start < len(data):
            data[start] ^= draw(st.integers(1, 255))
        elif kind == "put in":
            data[start:start] = draw(st.sampled_from(ODD_PIECES) | st.binary(max_size=40))
        elif kind == "take out":
            del data[start:end]
        elif kind == "cut off":
            del data[start:]
        else:
            data[start:start] = data[start:end] * draw(st.integers(1, 9))
    return bytes(data)


def outcome(path: Path, *, skip_bad: bool) -> tuple[list[Document], str, SkipReport]:
    """Documents, and the message of the error that ended the run, or ""."""
    report = SkipReport()
    documents: list[Document] = []
    try:
        for document in read_documents([path], skip_bad=skip_bad, report=report):
            documents.append(document)  # noqa: PERF402 (what was read before the error counts)
    except SourceError as exc:
        return documents, str(exc), report
    return documents, "", report


def check(path: Path) -> None:
    kept, ending, report = outcome(path, skip_bad=True)
    assert not ending or (not kept and "no documents found" in ending)
    strict, message, _ = outcome(path, skip_bad=False)
    if message:
        assert strict == kept[: len(strict)]
        assert message in (ending, *report.examples.values())
    else:
        assert strict == kept
    for line in (message, ending, *report.examples.values()):
        assert line == "" or (line.isprintable() and str(path) in line)
    assert len({document.id for document in kept}) == len(kept)
    for document in kept:
        assert document.text.strip()
        for text in (document.id, document.title, document.text, document.source, *document.metadata.values()):
            text.encode("utf-8")


@pytest.mark.parametrize("suffix", DOCUMENT_SUFFIXES)
def test_damaged_file_gives_documents_or_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"
    good = sample(suffix)
    path.write_bytes(good)
    assert outcome(path, skip_bad=False)[1] == ""

    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(damaged(good))
    def run(data: bytes) -> None:
        path.write_bytes(data)
        check(path)

    run()


@pytest.mark.parametrize("suffix", DOCUMENT_SUFFIXES)
def test_random_bytes_give_documents_or_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"

    @settings(max_examples=30)
    @given(st.binary(max_size=300) | st.lists(st.sampled_from(ODD_PIECES), max_size=20).map(b"".join))
    def run(data: bytes) -> None:
        path.write_bytes(data)
        check(path)

    run()


@pytest.mark.parametrize("suffix", [suffix for suffix in DOCUMENT_SUFFIXES if suffix.endswith((".gz", ".zst", ".bz2"))])
def test_damage_under_the_compression_gives_documents_or_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"
    plain = sample(suffix.rpartition(".")[0])

    @settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
    @given(damaged(plain))
    def run(data: bytes) -> None:
        path.write_bytes(compressed(data, suffix))
        check(path)

    run()


# VmHWM, and not ru_maxrss, which begins with what the process that started this one held.
READ_AND_MEASURE = """
import json, sys
from pathlib import Path
from realm.corpus.readers import read_documents
from realm.corpus.skips import SkipReport
report = SkipReport()
ids = [document.id for document in read_documents([Path(sys.argv[1])], skip_bad=True, report=report)]
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps([ids, report.reasons, int(peak.split()[1]) >> 10]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".tsv.gz", ".txt", ".md.gz", ".html"])
def test_line_of_100_megabytes_is_skipped_in_bounded_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"long{suffix}"
    rows = {".jsonl": b'{"id": "good", "text": "Good."}', ".csv": b"Good.,good", ".tsv": b"Good.\tgood"}
    kind = f".{suffix.split('.')[1]}"
    start = {".csv": b"text,id\n", ".tsv": b"text\tid\n"}.get(kind, b"")
    path.write_bytes(compressed(start + b"x" * 100_000_000 + b"\n" + rows.get(kind, b""), suffix))
    (tmp_path / "z.txt").write_text("Text.")
    run = subprocess.run([sys.executable, "-c", READ_AND_MEASURE, tmp_path], capture_output=True, text=True, check=True)
    ids, reasons, peak_mib = json.loads(run.stdout)
    assert ids == ["good"] * (kind in rows) + ["z.txt"]
    assert reasons == {"too_long": 1}
    assert peak_mib < 400
