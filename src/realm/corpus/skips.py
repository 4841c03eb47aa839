"""Records that cannot be used: they stop the run, or are counted by reason; none goes without a trace."""

from __future__ import annotations

from collections import Counter

from realm.errors import SourceError


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
        self.examples.setdefault(reason, message)

    @property
    def total(self) -> int:
        """How many records were skipped."""
        return self.reasons.total()

    def summary(self) -> str:
        """One line for people, most frequent reason first, such as `skipped 7: no_text 4, broken_json 3`."""
        if not self.reasons:
            return "skipped 0"
        counts = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.most_common())
        return f"skipped {self.total:,}: {counts}"


class Skipper:
    """Decides what a bad record does: stop the run, or be counted and left out."""

    def __init__(self, skip_bad: bool, report: SkipReport | None) -> None:
        self.skip_bad = skip_bad
        self.report = SkipReport() if report is None else report

    def handle(self, place: str, bad: BadRecord) -> None:
        """Count the bad record at `place`.

        Raises:
            SourceError: Bad records are not to be skipped.
        """
        message = f"{place}: {bad.problem}"
        if not self.skip_bad:
            raise SourceError(message) from bad
        self.report.add(bad.reason, message)


class UniqueIds:
    """The ids seen in one run."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def claim(self, id: str) -> None:
        """Note that `id` is taken.

        Raises:
            BadRecord: It was taken before.
        """
        if id in self._seen:
            raise BadRecord("duplicate_id", f'the id "{id}" stands for an earlier record already; ids must be unique')
        self._seen.add(id)
