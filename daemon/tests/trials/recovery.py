"""How long a front is without an answer when its engine is killed: for trials, on a machine as it is."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from typing import Any

from green_code.engine.requests import completion_params
from green_code.link.discovery import place
from green_code.lock import read_note
from green_code.lsp.supervisor import Supervisor


async def recovery_seconds(model: str, kills: int, seed: int = 0) -> list[float]:
    """Seconds from each kill −9 to the answer of the request that it hit, or of the next one where it hit none.

    The engine's place is that of this process's folders; each request has a text of its own, so nothing is reused.
    """
    generator, taken = random.Random(seed), list[float]()
    supervisor = Supervisor(lambda status: None, lambda energy: None)

    def request(number: int) -> asyncio.Task[Any]:
        prefix = "".join(f"value_{number}_{line} = {line}\n" for line in range(40)) + "def add(first, second):\n    ret"
        return asyncio.ensure_future(supervisor.complete(completion_params(prefix, model=model, session=str(number))))

    try:
        await request(0)
        for number in range(1, kills + 1):
            running = request(number)
            await asyncio.sleep(generator.uniform(0, 0.3))
            note = read_note(place().lock_path)
            assert note is not None
            os.kill(note["pid"], signal.SIGKILL)
            killed_at = time.monotonic()
            was_done = running.done()
            await running
            if was_done:
                await request(-number)
            taken.append(time.monotonic() - killed_at)
    finally:
        await supervisor.close()
    return taken
