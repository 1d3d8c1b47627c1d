"""What of a completion is kept in the ledger, and what its peer is told of energy.

Must not know: sessions and connections, or who waits.
"""

from __future__ import annotations

from green_code.energy.rows import Row, now_text
from green_code.energy.totals import Tally, Totals
from green_code.engine.requests import REFUSAL_TEXTS
from green_code.link import messages
from green_code.link.messages import CompletionParams, CompletionResult, EnergyMessage


def energy_message(
    today: Totals,
    tally: Tally,
    agreement: messages.Agreement | None,
    params: CompletionParams,
    result: CompletionResult,
) -> EnergyMessage:
    """What a peer is told after its completions."""
    session = tally.totals()
    return EnergyMessage(
        today=messages.Totals(**today),
        session=messages.Totals(**session),
        mean_layers=session["mean_layers"] or today["mean_layers"],
        layers_total=result["layers_total"],
        model=params["model"],
        last_exits=result["exits"],
        threshold=params["threshold"],
        agreement=agreement,
    )


def ledger_row(params: CompletionParams, result: CompletionResult, reason: str) -> Row:
    """What is kept of a completion: no text."""
    return Row(
        id=result["id"],
        time=now_text(),
        language=params["language"],
        model=params["model"],
        decoding=params["decoding"],
        threshold=str(params["threshold"]),
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
        shown=int(bool(result["text"]) and reason not in REFUSAL_TEXTS),
    )
