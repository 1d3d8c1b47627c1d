"""How long an editor is without an answer when its engine is killed, on a quiet machine and beside busy processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from green_code.engine.requests import completion_params
from green_code.lsp.supervisor import Supervisor
from tests.trials.kills import FIRST_SECONDS
from tests.trials.rig import DEADLINE_SECONDS, engine_pid, kill, percentile, percentiles, workplace
from tests.trials.runner import Outcome, Plan

BUSY = os.cpu_count() or 1
"""Processes beside the engine: each core has another one to run."""
AIM_SECONDS = 3.0
"""99 of 100 requests have their answer by then."""


def recovery(full: int, busy: int = 0) -> Callable[[Plan], Outcome]:
    """The trial with so many kills, beside so many processes that compute."""

    def trial(plan: Plan) -> Outcome:
        beside = f" beside {busy} busy processes" if busy else ""
        outcome = Outcome(f"kill −9 of the engine during a request, {plan.model}{beside}", plan.times(full))
        with workplace(plan.folder, plan.model), _busy(busy):
            taken = asyncio.run(_recoveries(plan, outcome))
        outcome.figures = f"until its answer {percentiles(taken)}"
        if plan.is_long and taken and (p99 := percentile(taken, 0.99)) > AIM_SECONDS:
            outcome.failures.append(f"p99 is {p99:.2f} s, over {AIM_SECONDS:g} s")
        return outcome

    return trial


async def _recoveries(plan: Plan, outcome: Outcome) -> list[float]:
    """Seconds from each kill to the answer of the request that it hit, or of the next one where it hit none.

    Each request has a text of its own, so nothing is reused.
    """
    generator, taken = random.Random(f"recovery {plan.seed}"), list[float]()
    supervisor = Supervisor(lambda status: None, lambda energy: None)

    def request(number: int) -> asyncio.Task[Any]:
        prefix = "".join(f"value_{number}_{line} = {line}\n" for line in range(40)) + "def add(first, second):\n    ret"
        params = completion_params(prefix, model=plan.model, session=str(number))
        return asyncio.ensure_future(asyncio.wait_for(supervisor.complete(params), FIRST_SECONDS))

    try:
        await request(0)
        for number in range(1, outcome.count + 1):
            running = request(number)
            await asyncio.sleep(generator.uniform(0, 0.3))
            await asyncio.to_thread(kill, engine_pid())
            killed_at = time.monotonic()
            was_done = running.done()
            try:
                await running
                if was_done:
                    await request(-number)
            except Exception as error:
                outcome.failures.append(f"kill {number}: {type(error).__name__}: {error}")
                continue
            taken.append(time.monotonic() - killed_at)
            if taken[-1] > DEADLINE_SECONDS:
                outcome.failures.append(f"kill {number}: no answer within {DEADLINE_SECONDS:g} s")
    finally:
        await supervisor.close()
    return taken


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
