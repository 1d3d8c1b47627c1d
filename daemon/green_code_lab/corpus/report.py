"""What was left out of a corpus, and why."""

from __future__ import annotations

from typing import Any

_EXAMPLES = 20  # names stored per reason


class Report:
    """Counts by reason, with the first names of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def drop(self, reason: str, name: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(name)

    def summary(self) -> dict[str, Any]:
        """{reason: {count, examples}}, most frequent first."""
        order = sorted(self.counts, key=lambda reason: -self.counts[reason])
        return {reason: {"count": self.counts[reason], "examples": self.examples[reason]} for reason in order}

    def __str__(self) -> str:
        return ", ".join(f"{by['count']} {reason}" for reason, by in self.summary().items()) or "nothing"
