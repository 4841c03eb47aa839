"""What was left out on purpose, counted by reason, so that no record disappears without a trace."""

from __future__ import annotations

from collections import Counter


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
