"""A completion's row of the ledger, and the energy message to its client.

Must not know: sessions and connections.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from green_code.energy.rows import CHECK, IDLE, UNFINISHED, UNKNOWN, Row, new_id, now_text
from green_code.engine.loaded_model import LoadedModel
from green_code.link.messages import Agreement, CompletionParams, CompletionResult, EnergyMessage
from green_code.report import Totals


class LastCompleted(NamedTuple):
    """A peer's last completion. `exits`: of this completion, or where it has no tokens of the last one that has some."""

    model: str
    threshold: float | str
    layers_total: int
    exits: list[int]


def energy_message(today: Totals, session: Totals, agreement: Agreement | None, last: LastCompleted) -> EnergyMessage:
    """The energy message after a completion."""
    return EnergyMessage(
        today=today,
        session=session,
        mean_layers=session["mean_layers"] or today["mean_layers"],
        layers_total=last.layers_total,
        model=last.model,
        last_exits=last.exits,
        threshold=last.threshold,
        agreement=agreement,
    )


def ledger_row(params: CompletionParams, result: CompletionResult, reason: str) -> Row:
    """The row of a completion; it holds no text. The front says whether the editor shows it."""
    completions = int(reason not in UNFINISHED)
    return Row(
        id=result["id"],
        time=now_text(),
        language=_shared(params["language"]),
        model=_shared(params["model"]),
        decoding=_shared(params["decoding"]),
        threshold=_shared(str(params["threshold"])),
        tokens=result["tokens"],
        exit_layers=sum(result["exits"]),
        layers_run=result["layers_run"],
        layers_total=result["layers_total"],
        prompt_tokens=result["prompt_tokens"],
        prompt_layers_run=result["prompt_layers_run"],
        energy_joules=result["energy_joules"],
        energy_full_joules=result["energy_full_joules"],
        energy_source=result["energy_source"],
        cpu_seconds=result["cpu_seconds"],
        wall_seconds=result["wall_seconds"],
        reason=reason,
        completions=completions,
        unmeasured=completions if result["energy_source"] == UNKNOWN else 0,
    )


@lru_cache(64)
def _shared(name: str) -> str:
    """The same text as before, if it was named of late: each message has copies of its own, and rows are remembered."""
    return name


def check_row(params: CompletionParams, result: CompletionResult) -> Row:
    """The row of a shadow check. It costs joules; it adds no tokens, and there is no full-depth figure to compare with."""
    return replace(ledger_row(params, result, CHECK), tokens=0, exit_layers=0, energy_full_joules=0.0)


def idle_row(loaded: LoadedModel, joules: float) -> Row:
    """The row of what a device drew because a model was resident; full depth would have drawn it, too."""
    runtime = loaded.runtime
    return Row(
        id=new_id(), time=now_text(), language="", model=loaded.name, decoding="", threshold="", tokens=0, exit_layers=0, layers_run=0,
        layers_total=runtime.layers_total, prompt_tokens=0, prompt_layers_run=0, energy_joules=joules, energy_full_joules=joules,
        energy_source=runtime.energy_source, cpu_seconds=0.0, wall_seconds=0.0, reason=IDLE, completions=0,
    )  # fmt: skip
