"""The engine's peers: what each connection has asked for, and what it got.

Must not know: how a message is sent, or when.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from green_code.energy.rows import Row
from green_code.energy.totals import Tally
from green_code.engine.ledger_rows import LastCompleted
from green_code.engine.requests import Job
from green_code.link.messages import CompletionParams, CompletionResult

REMEMBERED_ROWS: Final = 300
"""A connection's completions that may still be shown, accepted or retained: for half a minute at ten a second."""


@dataclass
class Peer:
    """A connection's totals, newest ledger rows and running jobs."""

    tally: Tally = field(default_factory=Tally)
    rows: dict[str, Row] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    last: LastCompleted | None = None
    window: str = ""

    def completed(self, params: CompletionParams, result: CompletionResult) -> None:
        """Note the last completion."""
        exits = result["exits"] or (self.last.exits if self.last is not None else [])
        self.last = LastCompleted(params["model"], params["threshold"], result["layers_total"], exits)

    def add(self, row: Row) -> None:
        """Count a row."""
        self.tally.add(row)
        self.rows[row.id] = row
        if len(self.rows) > REMEMBERED_ROWS:
            del self.rows[next(iter(self.rows))]

    def change(self, old: Row, new: Row) -> None:
        """A counted row has changed."""
        self.tally.change(old, new)
        self.rows[new.id] = new
