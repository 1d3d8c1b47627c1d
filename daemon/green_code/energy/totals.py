"""Sums over the ledger's rows: row by row (`Tally`), and by SQL for the energy report.

Must not know: files, lsp, link, engine or decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from green_code.energy.rows import UNFINISHED, Row, today_text
from green_code.report import DayTotals, LanguageTotals, ModelTotals, Report, Totals

_SUMS = (
    f"COALESCE(SUM(reason NOT IN {UNFINISHED}), 0), COALESCE(SUM(shown), 0), COALESCE(SUM(accepted), 0), "
    "COALESCE(SUM(retained), 0), COALESCE(SUM(tokens), 0), COALESCE(SUM(energy_joules), 0.0), COALESCE(SUM(energy_full_joules), 0.0), "
    "COALESCE(SUM(exit_layers), 0), COALESCE(SUM(cpu_seconds), 0.0), GROUP_CONCAT(DISTINCT energy_source)"
)
_NOTHING = (0, 0, 0, 0, 0, 0.0, 0.0, 0, 0.0, None)
_ESTIMATE = "estimate"
_REPORT_DAYS = 31

Query = Callable[[str, "tuple[Any, ...]"], "list[tuple[Any, ...]]"]
"""Runs a statement with its values and returns the rows."""


class Tally:
    """Totals of the rows added so far, by the same rules as the ledger's."""

    def __init__(self) -> None:
        self._sums = list(_NOTHING[:-1])
        self._sources: set[str] = set()

    def add(self, row: Row) -> None:
        """Count a row."""
        completed = row.reason not in UNFINISHED
        values = (
            int(completed),
            row.shown,
            row.accepted,
            row.retained,
            row.tokens,
            row.energy_joules,
            row.energy_full_joules,
            row.exit_layers,
            row.cpu_seconds,
        )
        self._sums = [total + value for total, value in zip(self._sums, values, strict=True)]
        self._sources.add(row.energy_source)

    def accept(self) -> None:
        """One of the counted rows was accepted."""
        self._sums[2] += 1

    def retain(self) -> None:
        """One of the accepted rows was retained."""
        self._sums[3] += 1

    def totals(self) -> Totals:
        """The sums so far."""
        return _totals((*self._sums, ",".join(self._sources) or None))


def _totals(sums: tuple[Any, ...]) -> Totals:
    """The totals of one row that `_SUMS` selects."""
    completions, shown, accepted, retained, tokens, joules, full_joules, layers, cpu_seconds, sources = sums
    return Totals(
        completions=completions,
        shown=shown,
        accepted=accepted,
        retained=retained,
        tokens=tokens,
        energy_joules=joules,
        energy_full_joules=full_joules,
        saved_joules=full_joules - joules,
        saving=1 - joules / full_joules if full_joules > 0 else 0.0,
        mean_layers=layers / tokens if tokens else 0.0,
        cpu_seconds=cpu_seconds,
        source=_source(sources.split(",")) if sources else None,
    )


def _source(sources: Iterable[str]) -> str:
    """One name for the joules of several meters; with an estimate among them, the sum is an estimate."""
    return _ESTIMATE if _ESTIMATE in sources else "+".join(sorted(sources))


def totals_of_today(query: Query) -> Totals:
    """Totals of the current day (UTC)."""
    return _totals(_sums(query, "WHERE time >= ?", (today_text(),)))


def _sums(query: Query, where: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    rows = query(f"SELECT {_SUMS} FROM completions {where}", values)
    return rows[0] if rows else _NOTHING


def report_of(query: Query) -> Report:
    """Totals of today and of all rows, by day (the last 31 with any), language and model."""
    days = query(
        f"SELECT substr(time, 1, 10) AS key, {_SUMS} FROM completions GROUP BY key ORDER BY key DESC LIMIT ?",
        (_REPORT_DAYS,),
    )
    languages, models = (
        query(f"SELECT {key}, {_SUMS} FROM completions GROUP BY {key} ORDER BY 2 DESC, 1", ())
        for key in ("language", "model")
    )
    return Report(
        today=totals_of_today(query),
        all=_totals(_sums(query, "", ())),
        by_day=[DayTotals(day=row[0], **_totals(row[1:])) for row in reversed(days)],
        by_language=[LanguageTotals(language=row[0], **_totals(row[1:])) for row in languages],
        by_model=[ModelTotals(model=row[0], **_totals(row[1:])) for row in models],
    )
