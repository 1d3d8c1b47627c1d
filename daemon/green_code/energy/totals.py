"""Sums over the ledger's rows: row by row (`Tally`), and by SQL for the energy report.

Must not know: files, lsp, link, engine or decoding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from green_code.energy.rows import UNFINISHED, Row, today_text
from green_code.report import DayTotals, LanguageTotals, ModelTotals, Report, Totals

_COUNTS = ("shown", "accepted", "retained", "tokens", "characters", "accepted_characters", "exit_layers")
_AMOUNTS = ("energy_joules", "energy_full_joules", "cpu_seconds")
_KEYS = ("completions", *_COUNTS, *_AMOUNTS)
_SUMS = ", ".join(
    (
        f"COALESCE(SUM(reason NOT IN {UNFINISHED}), 0)",
        *(f"COALESCE(SUM({name}), 0)" for name in _COUNTS),
        *(f"TOTAL({name})" for name in _AMOUNTS),
        "GROUP_CONCAT(DISTINCT energy_source)",
    )
)
_ESTIMATE = "estimate"
_REPORT_DAYS = 31

Query = Callable[[str, "tuple[Any, ...]"], "list[tuple[Any, ...]]"]
"""Runs a statement with its values and returns the rows."""


class Tally:
    """Totals of the rows added so far, by the same rules as the ledger's."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {**dict.fromkeys(_KEYS, 0), **dict.fromkeys(_AMOUNTS, 0.0)}
        self._sources: set[str] = set()

    def add(self, row: Row) -> None:
        """Count a row."""
        self._sums["completions"] += row.reason not in UNFINISHED
        for name in _COUNTS + _AMOUNTS:
            self._sums[name] += getattr(row, name)
        self._sources.add(row.energy_source)

    def change(self, old: Row, new: Row) -> None:
        """A counted row has changed: it was shown, accepted or retained."""
        for name in _COUNTS:
            self._sums[name] += getattr(new, name) - getattr(old, name)

    def totals(self) -> Totals:
        """The sums so far."""
        return _totals(self._sums, self._sources)


def _totals(sums: dict[str, Any], sources: set[str]) -> Totals:
    joules, full_joules = sums["energy_joules"], sums["energy_full_joules"]
    return Totals(
        completions=sums["completions"],
        shown=sums["shown"],
        accepted=sums["accepted"],
        retained=sums["retained"],
        tokens=sums["tokens"],
        characters=sums["characters"],
        accepted_characters=sums["accepted_characters"],
        energy_joules=joules,
        energy_full_joules=full_joules,
        saved_joules=full_joules - joules,
        saving=1 - joules / full_joules if full_joules > 0 else 0.0,
        mean_layers=sums["exit_layers"] / sums["tokens"] if sums["tokens"] else 0.0,
        cpu_seconds=sums["cpu_seconds"],
        source=(_ESTIMATE if _ESTIMATE in sources else "+".join(sorted(sources))) or None,
    )


def _totals_of(selected: tuple[Any, ...]) -> Totals:
    """The totals of one row that `_SUMS` selects."""
    *sums, sources = selected
    return _totals(dict(zip(_KEYS, sums, strict=True)), set(sources.split(",")) if sources else set())


def totals_of_today(query: Query) -> Totals:
    """Totals of the current day (UTC)."""
    return _select(query, "WHERE time >= ?", today_text())


def _select(query: Query, where: str = "", *values: str) -> Totals:
    rows = query(f"SELECT {_SUMS} FROM completions {where}", values)
    return _totals_of(rows[0]) if rows else Tally().totals()


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
        all=_select(query),
        by_day=[DayTotals(day=row[0], **_totals_of(row[1:])) for row in reversed(days)],
        by_language=[LanguageTotals(language=row[0], **_totals_of(row[1:])) for row in languages],
        by_model=[ModelTotals(model=row[0], **_totals_of(row[1:])) for row in models],
    )
