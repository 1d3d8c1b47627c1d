"""Shapes of the energy totals and of the energy report, as the ledger adds them up and the link carries them."""

from __future__ import annotations

from typing import TypedDict


class Totals(TypedDict):
    """Sums over ledger rows; `saving` is a fraction of `energy_full_joules`.

    `characters` (code points) are those of the texts that were shown; `accepted_characters` of them were inserted.
    Cancelled requests, superseded requests and shadow checks cost joules but are not completions. The joules of `unmeasured`
    completions are unknown and in no sum. `source` is that of the others' joules: `nvml`, `rapl`, `server`, several joined by a plus,
    `estimate` as soon as one row's joules are estimated; `unknown` where all are, or None without rows.
    """

    completions: int
    unmeasured: int
    shown: int
    accepted: int
    retained: int
    tokens: int
    characters: int
    accepted_characters: int
    energy_joules: float
    energy_full_joules: float
    saved_joules: float
    saving: float
    mean_layers: float
    cpu_seconds: float
    source: str | None


class DayTotals(Totals):
    """Totals of one day (UTC, YYYY-MM-DD)."""

    day: str


class LanguageTotals(Totals):
    """Totals of one language."""

    language: str


class ModelTotals(Totals):
    """Totals of one model."""

    model: str


class Report(TypedDict):
    """The energy report.

    `idle_joules`: of those of `all`, what a device drew because a model was resident, while nothing was written.
    """

    today: Totals
    all: Totals
    idle_joules: float
    by_day: list[DayTotals]
    by_language: list[LanguageTotals]
    by_model: list[ModelTotals]
