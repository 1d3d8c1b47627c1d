"""Kill −9 of the engine and of the front at random moments, and what eight windows cost for minutes."""

from __future__ import annotations

import itertools
import random
import sqlite3
import statistics
import threading
import time
from contextlib import closing, suppress

import psutil

from green_code.folders import ledger_path
from tests.trials.rig import DEADLINE_SECONDS, Ended, Front, Hang, engine_pid, kill, percentiles, workplace
from tests.trials.runner import Outcome, Plan

TEXT = "def add(a, b):\n    return a + b\n\n\ndef subtract(a, b):\n    return "
LINE, CHARACTER = 5, 11
FIRST_SECONDS = 300.0
"""The first completion converts the model, if need be."""
NUMBERS = itertools.count()
LOST = ("engine_lost", "engine_starting", "engine_hanging", "internal_error", "None")
GROWTH = 0.02
WINDOWS = 8


def kills(plan: Plan) -> Outcome:
    """From the signal to the next completion that an engine has computed. Two of three kills are of the engine, half of them during a
    request; a front is started anew by its editor, here at once."""
    outcome = Outcome(f"kill −9 of engine or language server at random moments, {plan.model}", plan.times(100))
    numbers = random.Random(f"kills {plan.seed}")
    recoveries: list[float] = []
    with workplace(plan.folder, plan.model):
        front = _started(plan.model, FIRST_SECONDS)
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
                        front = _started(plan.model, DEADLINE_SECONDS)
                    recoveries.append(time.monotonic() - began)
                    time.sleep(0.3)  # the row is written behind the answer
                except (Hang, Ended) as error:
                    outcome.failures.append(
                        f"kill {number} of the {'engine' if of_engine else 'front'}: {type(error).__name__}: {error}"
                    )
                    front.__exit__()
                    front = _started(plan.model, DEADLINE_SECONDS)
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


def _started(model: str, seconds: float) -> Front:
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


def soak(plan: Plan) -> Outcome:
    """Eight windows type; memory and descriptors of the engine in the last fifth against those after the first fifth."""
    seconds = max(10.0, 600 * plan.scale)
    outcome = Outcome(f"eight windows type for {seconds / 60:.1f} minutes, {plan.model}", 0)
    stop = threading.Event()
    answers = [0] * WINDOWS
    with workplace(plan.folder, plan.model):
        fronts = [_started(plan.model, FIRST_SECONDS) for _ in range(WINDOWS)]
        threads = [
            threading.Thread(target=_type, args=(front, i, plan.seed, stop, answers, outcome))
            for i, front in enumerate(fronts)
        ]
        for thread in threads:
            thread.start()
        samples: list[tuple[float, float]] = []
        process = psutil.Process(engine_pid())
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(min(2.0, seconds / 20))
            with suppress(psutil.Error):
                samples.append((process.memory_info().rss, process.num_fds()))
        stop.set()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
        if engine_pid() != process.pid:
            outcome.failures.append("the engine did not live through it")
        for front in fronts:
            front.__exit__()
    outcome.count = sum(answers)
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth], samples[-fifth:]
    (rss, fds), (rss_late, fds_late) = [
        [statistics.median(column) for column in zip(*part, strict=True)] for part in (early, late)
    ]
    growth = rss_late / rss - 1
    outcome.figures = (
        f"memory {rss / 2**20:.0f} → {rss_late / 2**20:.0f} MiB ({growth:+.1%}), descriptors {fds:.0f} → {fds_late:.0f}"
    )
    is_warm = plan.scale >= 0.5  # in a short run some of the eight windows still come
    if growth > GROWTH and is_warm:
        outcome.failures.append(f"memory grew by {growth:.1%}")
    if fds_late > fds + (2 if is_warm else 8):
        outcome.failures.append(f"descriptors grew from {fds:.0f} to {fds_late:.0f}")
    return outcome


def _type(front: Front, window: int, seed: int, stop: threading.Event, answers: list[int], outcome: Outcome) -> None:
    """One window: random edits of a file, and a completion after each. Its first text is its longest, so that caches are at their largest at once."""
    numbers, text = random.Random(f"soak {seed} {window}"), TEXT + "\nvalue = 0" * 390
    words = ("value", " = ", "return ", "(", ")", "\n    ", "self.", "for x in ", ":\n        ", "'text'", ", ", "if ")
    try:
        while not stop.is_set():
            text = TEXT + text[-1500:] if len(text) > 4000 else text
            text = text[: -numbers.randrange(1, 12)] if numbers.random() < 0.2 else text + numbers.choice(words)
            front.change(text)
            lines = text.split("\n")
            front.complete(len(lines) - 1, len(lines[-1]))
            answers[window] += 1
            time.sleep(numbers.random() * 0.3)
    except (Hang, Ended) as error:
        outcome.failures.append(f"window {window}: {type(error).__name__}: {error}")
