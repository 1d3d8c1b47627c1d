"""Sums over the ledger's rows: row by row (`Tally`), and by SQL for the energy report.

Must not know: files, lsp, link, engine or decoding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from green_code.energy.rows import UNKNOWN, Row, today_text
from green_code.report import DayTotals, LanguageTotals, ModelTotals, Report, Totals

_COUNTS = (
    "completions", "unmeasured", "shown", "accepted", "retained", "tokens", "characters", "accepted_characters", "exit_layers",
    "layer_tokens",
)  # fmt: skip
_COMPUTED = {
    "layer_tokens": "CASE WHEN layers_total > 0 THEN tokens ELSE 0 END"
}  # properties of `Row` that are no columns
_AMOUNTS = ("energy_joules", "energy_full_joules", "cpu_seconds")
_SUMS = ", ".join(
    (
        *(f"SUM({_COMPUTED.get(name, name)})" for name in _COUNTS),
        *(f"TOTAL({name})" for name in _AMOUNTS),
        "GROUP_CONCAT(DISTINCT energy_source)",
    )
)
_DAY = "substr(time, 1, 10)"
_ESTIMATE = "estimate"
_REPORT_DAYS = 31

Query = Callable[[str, "tuple[Any, ...]"], "list[tuple[Any, ...]]"]
"""Runs a statement with its values and returns the rows."""


class Tally:
    """Totals of the rows added so far, by the same rules as the ledger's."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {**dict.fromkeys(_COUNTS, 0), **dict.fromkeys(_AMOUNTS, 0.0)}
        self._sources: set[str] = set()

    def add(self, row: Row) -> None:
        """Count a row."""
        self._add([getattr(row, name) for name in _COUNTS + _AMOUNTS], row.energy_source)

    def add_selected(self, selected: Sequence[Any]) -> None:
        """Count the rows of which a statement has selected `_SUMS`."""
        *sums, sources = selected
        self._add(sums, sources)

    def change(self, old: Row, new: Row) -> None:
        """A counted row has changed: it was shown, accepted or retained."""
        for name in _COUNTS:
            self._sums[name] += getattr(new, name) - getattr(old, name)

    def totals(self) -> Totals:
        """The sums so far."""
        sums = self._sums
        joules, full_joules = sums["energy_joules"], sums["energy_full_joules"]
        return Totals(
            completions=sums["completions"],
            unmeasured=sums["unmeasured"],
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
            mean_layers=sums["exit_layers"] / sums["layer_tokens"] if sums["layer_tokens"] else 0.0,
            cpu_seconds=sums["cpu_seconds"],
            source=self._source(),
        )

    def _source(self) -> str | None:
        known = self._sources - {UNKNOWN}
        if _ESTIMATE in known:
            return _ESTIMATE
        return "+".join(sorted(known or self._sources)) or None

    def _add(self, sums: Sequence[Any], sources: str) -> None:
        for name, value in zip(_COUNTS + _AMOUNTS, sums, strict=True):
            self._sums[name] += value
        self._sources.update(sources.replace(",", "+").split("+"))


def totals_of_today(query: Query) -> Totals:
    """Totals of the current day (UTC)."""
    tally, day = Tally(), today_text()
    for selected in query(
        f"SELECT {_SUMS} FROM completions WHERE time >= ? AND {_DAY} = ? GROUP BY {_DAY}", (day, day)
    ):
        tally.add_selected(selected)
    return tally.totals()


def report_of(query: Query) -> Report:
    """Totals of today and of all rows, by day (the last 31 with any), language and model."""
    everything, waiting = Tally(), Tally()
    days, languages, models = (defaultdict[str, Tally](Tally) for _ in range(3))
    for day, language, model, *selected in query(
        f"SELECT {_DAY}, language, model, {_SUMS} FROM completions GROUP BY 1, 2, 3", ()
    ):
        of_language = (
            languages[language] if language else waiting
        )  # a row of `IDLE` has none, also when it is summed up
        for tally in (everything, days[day], of_language, models[model]):
            tally.add_selected(selected)
    return Report(
        today=days.get(today_text(), Tally()).totals(),
        all=everything.totals(),
        idle_joules=waiting.totals()["energy_joules"],
        by_day=[DayTotals(day=day, **days[day].totals()) for day in sorted(days)[-_REPORT_DAYS:]],
        by_language=[LanguageTotals(language=language, **totals) for language, totals in _by_completions(languages)],
        by_model=[ModelTotals(model=model, **totals) for model, totals in _by_completions(models)],
    )


def _by_completions(tallies: dict[str, Tally]) -> list[tuple[str, Totals]]:
    totals = [(name, tally.totals()) for name, tally in tallies.items()]
    return sorted(totals, key=lambda item: (-item[1]["completions"], item[0]))
