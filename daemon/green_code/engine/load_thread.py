"""Loads a runtime on a thread of its own, whose callbacks run on the event loop.

Must not know: what is done with a runtime, or where it was wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from green_code.engine.interfaces import LoadRuntime, Progress, Runtime
from green_code.link.messages import State


def load_in_thread(
    load: LoadRuntime,
    model: str,
    device: str,
    progress: Progress,
    make_room: Callable[[int], Coroutine[Any, Any, None]] | None,
) -> asyncio.Future[Runtime]:
    """Load on a daemon thread: loading that hangs does not keep the process alive. To be called on the event loop.

    Args:
        progress: called on the loop. make_room: awaited on the loop while the thread waits, with the bytes of the weights; without it, there
            is no wait.

    Returns:
        The runtime, which is closed if nobody waits for it any more, or the loader's exception.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Runtime] = loop.create_future()

    def tell(state: State, sentence: str, fraction: float | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(progress, state, sentence, fraction)

    def wait_for_room(size: int) -> None:
        if make_room is not None:
            asyncio.run_coroutine_threadsafe(make_room(size), loop).result()

    def finish(runtime: Runtime | None, error: BaseException | None) -> None:
        if future.done():
            if runtime is not None:
                runtime.close()
        elif runtime is not None:
            future.set_result(runtime)
        else:
            future.set_exception(error or RuntimeError("the loader returned nothing"))

    def work() -> None:
        runtime, error = None, None
        try:
            runtime = load(model, tell, device, wait_for_room)
        except BaseException as caught:
            error = caught if isinstance(caught, Exception) else RuntimeError(repr(caught))
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, runtime, error)

    threading.Thread(target=work, name="load-model", daemon=True).start()
    return future
