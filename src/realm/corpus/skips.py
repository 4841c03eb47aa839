"""Records that cannot be used: they stop the run, or are counted by reason; none goes without a trace."""

from __future__ import annotations

from collections import Counter

from realm.corpus.digest_set import DigestSet
from realm.errors import SourceError

NEVER_DOCUMENTS = frozenset(
    [
        "other_kind", "link_to_folder", "knowledge_base", "model_folder", "dropped_field",
        "namespace", "redirect", "list_title", "disambiguation", "other_model", "no_prose",
    ]
)  # fmt: skip
"""Reasons that count what is left out on purpose: files of other kinds, pages of a Wikipedia that are no articles."""

_LONGEST_QUOTE = 80


class BadRecord(Exception):
    """One record cannot be used.

    Attributes:
        reason: The word it is counted under.
        problem: What is wrong with it, for people.
    """

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason
        self.problem = problem


class SkipReport:
    """Counts skipped records by reason and keeps the first example of each.

    Attributes:
        reasons: How often each reason occurred; reasons are short words such as `no_text`.
        examples: The message of the first record skipped for each reason.
    """

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def add(self, reason: str, message: str) -> None:
        """Count one record that was left out for `reason`; `message` says which and why, in one line."""
        self.reasons[reason] += 1
        self.examples.setdefault(reason, printable(message))

    @property
    def total(self) -> int:
        """How many records were skipped."""
        return self.reasons.total()

    @property
    def lost(self) -> list[str]:
        """Reasons for which something was left out that was meant to be a document."""
        return [reason for reason in self.reasons if reason not in NEVER_DOCUMENTS]

    def summary(self) -> str:
        """One line for people, most frequent reason first, such as `skipped 7: no_text 4, broken_json 3`."""
        if not self.reasons:
            return "skipped 0"
        counts = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.most_common())
        return f"skipped {self.total:,}: {counts}"


class Skipper:
    """Decides what a bad record does: stop the run, or be counted and left out.

    Args:
        skip_bad: Whether it is left out.
        report: Where it is counted then.
        advice: What to do about a record that stops the run.
    """

    def __init__(self, skip_bad: bool, report: SkipReport | None, advice: str = "") -> None:
        self.skip_bad = skip_bad
        self._advice = f". {advice}" if advice else ""
        self.report = SkipReport() if report is None else report

    def handle(self, place: str, bad: BadRecord) -> None:
        """Count the bad record at `place`.

        Raises:
            SourceError: Bad records are not to be skipped.
        """
        message = printable(f"{place}: {bad.problem}")
        if not self.skip_bad:
            raise SourceError(message + self._advice) from bad
        self.report.add(bad.reason, message)


class UniqueIds:
    """The ids seen in one run, at 16 bytes each."""

    def __init__(self) -> None:
        self._seen = DigestSet()

    def claim(self, id: str) -> None:
        """Note that `id` is taken.

        Raises:
            BadRecord: It was taken before.
        """
        if not self._seen.add(id):
            raise BadRecord(
                "duplicate_id", f'the id "{shortened(id)}" stands for an earlier record already; ids must be unique'
            )


def printable(text: str) -> str:
    """`text` as one line that every terminal can show: what it cannot is spelt out, such as `\\n` or `\\udc80`."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def shortened(text: str) -> str:
    """The first characters of `text`, for a message."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"
