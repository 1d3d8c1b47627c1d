"""Kill −9 of the engine and of the front at random moments."""

from __future__ import annotations

import itertools
import random
import sqlite3
import time
from contextlib import closing

from green_code.folders import ledger_path
from tests.trials.rig import DEADLINE_SECONDS, Ended, Front, Hang, engine_pid, kill, percentiles, workplace
from tests.trials.runner import Outcome, Plan

TEXT = "def add(a, b):\n    return a + b\n\n\ndef subtract(a, b):\n    return "
LINE, CHARACTER = 5, 11
FIRST_SECONDS = 300.0
"""The first completion converts the model, if need be."""
NUMBERS = itertools.count()
LOST = ("engine_lost", "engine_starting", "engine_hanging", "internal_error", "None")


def kills(plan: Plan) -> Outcome:
    """From the signal to the next completion that an engine has computed. Two of three kills are of the engine, half of them during a
    request; a front is started anew by its editor, here at once."""
    outcome = Outcome(f"kill −9 of engine or language server at random moments, {plan.model}", plan.times(100))
    numbers = random.Random(f"kills {plan.seed}")
    recoveries: list[float] = []
    with workplace(plan.folder, plan.model):
        front = started(plan.model, FIRST_SECONDS)
        try:
            for number in range(outcome.count):
                of_engine = numbers.random() < 2 / 3
                if numbers.random() < 0.5:
                    front.change(TEXT + "x" * (number % 3))
                    at = {
                        "textDocument": {"uri": "file:///trial/a.py"},
                        "position": {"line": LINE, "character": CHARACTER},
                    }
                    front.send(
                        {
                            "id": 10_000 + number,
                            "method": "textDocument/inlineCompletion",
                            "params": {**at, "context": {"triggerKind": 1}},
                        }
                    )
                time.sleep(numbers.random() * 0.2)
                began = time.monotonic()
                if of_engine:
                    kill(engine_pid())
                else:
                    kill(front.process.pid)
                    front.__exit__()
                try:
                    if of_engine:
                        _completed(front, DEADLINE_SECONDS)
                    else:
                        front = started(plan.model, DEADLINE_SECONDS)
                    recoveries.append(time.monotonic() - began)
                    time.sleep(0.3)  # the row is written behind the answer
                except (Hang, Ended) as error:
                    outcome.failures.append(
                        f"kill {number} of the {'engine' if of_engine else 'front'}: {type(error).__name__}: {error}"
                    )
                    front.__exit__()
                    front = started(plan.model, DEADLINE_SECONDS)
                time.sleep(
                    1.1 if of_engine else 0.1
                )  # a person types on; an engine that ends again at once is left alone for longer
        finally:
            front.__exit__()
            kill(engine_pid())
        with closing(sqlite3.connect(ledger_path())) as database:
            if (found := database.execute("PRAGMA integrity_check").fetchone()) != ("ok",):
                outcome.failures.append(f"the ledger is damaged: {found}")
            if (rows := database.execute("SELECT count(*) FROM completions").fetchone()[0]) < len(recoveries):
                outcome.failures.append(f"the ledger has {rows} rows for {len(recoveries)} completions")
    outcome.figures = f"recovery {percentiles(recoveries)}"
    return outcome


def started(model: str, seconds: float) -> Front:
    front = Front(model)
    front.open(TEXT)
    _completed(front, seconds)
    return front


def _completed(front: Front, seconds: float) -> None:
    """Ask until an engine has computed a completion."""
    deadline = time.monotonic() + seconds
    while True:
        front.change(
            TEXT.replace("subtract", f"subtract_{next(NUMBERS)}")
        )  # else the front may answer from an earlier suggestion
        front.complete(LINE, CHARACTER, seconds=max(0.1, deadline - time.monotonic()))
        if front.reason() not in LOST:
            return
        if time.monotonic() > deadline:
            raise Hang(f"no completion in {seconds:g} s; the last reason is {front.reason()}")
        time.sleep(0.05)
