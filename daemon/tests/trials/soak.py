"""What eight windows cost for minutes: memory and descriptors of the engine and of the language servers."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

from tests.trials.kills import FIRST_SECONDS, TEXT, started
from tests.trials.rig import DEADLINE_SECONDS, Ended, Front, Hang, engine_pid, workplace
from tests.trials.runner import Outcome, Plan

GROWTH = 0.02
WINDOWS = 8


def soak(plan: Plan) -> Outcome:
    """Eight windows type; memory and descriptors in the last fifth against those after the first fifth, of the engine, and of the eight
    language servers together."""
    seconds = max(10.0, 600 * plan.scale)
    outcome = Outcome(f"eight windows type for {seconds / 60:.1f} minutes, {plan.model}", 0)
    stop = threading.Event()
    answers = [0] * WINDOWS
    with workplace(plan.folder, plan.model):
        fronts = [started(plan.model, FIRST_SECONDS) for _ in range(WINDOWS)]
        threads = [
            threading.Thread(target=_type, args=(front, i, plan.seed, stop, answers, outcome))
            for i, front in enumerate(fronts)
        ]
        for thread in threads:
            thread.start()
        engine = psutil.Process(engine_pid())
        servers = [psutil.Process(front.process.pid) for front in fronts]
        samples: list[tuple[_Use, _Use]] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(min(2.0, seconds / 20))
            with suppress(psutil.Error):
                samples.append((_use([engine]), _use(servers)))
        stop.set()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
        if engine_pid() != engine.pid:
            outcome.failures.append("the engine did not live through it")
        for front in fronts:
            front.__exit__()
    outcome.count = sum(answers)
    names = ("engine", f"{WINDOWS} language servers together")
    figures = [_judge(name, of, plan, outcome) for name, of in zip(names, zip(*samples, strict=True), strict=True)]
    outcome.figures = "; ".join(figures)
    return outcome


_Use = tuple[int, int]
"""Bytes of resident memory, and open descriptors."""


def _use(processes: Sequence[psutil.Process]) -> _Use:
    return sum(one.memory_info().rss for one in processes), sum(one.num_fds() for one in processes)


def _judge(name: str, samples: Sequence[_Use], plan: Plan, outcome: Outcome) -> str:
    """The figures of one process or of some; growth is a failure."""
    fifth = max(1, len(samples) // 5)
    (rss, fds), (rss_late, fds_late) = [
        [statistics.median(column) for column in zip(*part, strict=True)]
        for part in (samples[fifth : 2 * fifth], samples[-fifth:])
    ]
    growth = rss_late / rss - 1
    if growth > GROWTH and plan.is_long:  # in a short run some of the eight windows still come
        outcome.failures.append(f"memory grew by {growth:.1%}: {name}")
    if fds_late > fds + (2 if plan.is_long else 8):
        outcome.failures.append(f"descriptors grew from {fds:.0f} to {fds_late:.0f}: {name}")
    memory = f"{rss / 2**20:.0f} → {rss_late / 2**20:.0f} MiB ({growth:+.1%})"
    return f"{name}: memory {memory}, descriptors {fds:.0f} → {fds_late:.0f}"


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
