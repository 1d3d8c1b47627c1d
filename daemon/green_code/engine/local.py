"""One completion without an engine process, for `green-code complete --no-engine`.

Parameters, results, checks and ledger rows are those of the link.
Must not know: the link's sockets.
"""

from __future__ import annotations

from green_code.energy.ledger import Ledger
from green_code.energy.rows import new_id
from green_code.engine.interfaces import LoadRuntime, Progress
from green_code.engine.ledger_rows import ledger_row
from green_code.engine.requests import check_params, threshold_in_force
from green_code.link.messages import CompletionParams, CompletionResult


def complete_here(
    params: CompletionParams, load: LoadRuntime, ledger: Ledger, progress: Progress = lambda *_: None
) -> CompletionResult:
    """Load the model, complete once, record the row, and free the model. Raises Problem like the engine."""
    checked = check_params(params)
    runtime = load(checked["model"], progress, checked["device"], lambda _: None)
    try:
        checked["threshold"] = threshold_in_force(checked, runtime)
        result = runtime.new_session().complete(checked, lambda: None)
    finally:
        runtime.close()
    result["id"] = new_id()
    ledger.record(ledger_row(checked, result, result["reason"]))
    return result
