"""The engine's process: takes its lock, listens, serves, and cleans up at the end.

At the end requests are answered, then the socket and the lock are removed (so that a new engine can start at once), then
the model. SIGTERM and SIGINT end it cleanly; kill −9 leaves a socket that the next engine removes.
Must not know: what a model is. Only `import_loader` imports the code for models, before the engine listens: a compiled module whose
import fails stays broken for the life of its process.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import logging.handlers
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from green_code import __version__, folders
from green_code.endpoints import is_endpoint
from green_code.energy.ledger import Ledger
from green_code.engine.interfaces import LoadRuntime, MakeRoom, Progress, Runtime
from green_code.engine.reload import BundleWatcher
from green_code.engine.service import Service
from green_code.link.discovery import ALREADY_RUNNING, Claim, Place, place
from green_code.link.server import LinkServer
from green_code.logs import log_to
from green_code.problems import Problem, in_one_line

log = logging.getLogger(__name__)

LOG_BYTES = 1 << 20
LOG_FILES = 2


def import_loader() -> LoadRuntime:
    """What loads real models, with all that serving needs on the processor.

    Raises:
        Problem: something cannot be imported, for example because memory is scarce.
    """
    try:
        from green_code.engine.loading import load_runtime
    except Exception as error:
        log.error("the code for models cannot be imported", exc_info=error)
        raise Problem(
            "no_memory" if isinstance(error, MemoryError) else "internal_error",
            f"The engine cannot import what it needs ({in_one_line(error)}). Close other programs if memory is scarce, then try again; "
            "if it stays so, run Green Code: Set Up.",
        ) from error
    loader: LoadRuntime = load_runtime
    return loader


def with_endpoints(load: LoadRuntime, api_keys: Mapping[str, str]) -> LoadRuntime:
    """What loads a model, or connects to a server where that takes its place.

    Args:
        api_keys: of servers, by origin.
    """

    def load_or_connect(model: str, progress: Progress, device: str, make_room: MakeRoom) -> Runtime:
        if not is_endpoint(model):
            return load(model, progress, device, make_room)
        from green_code.engine.remote import runtime

        return runtime.connect(model, api_keys, progress)

    return load_or_connect


def run_engine(prepare: Callable[[], LoadRuntime] = import_loader) -> int:
    """Run the engine until it is stopped; returns the exit status, ALREADY_RUNNING if another one lives.

    Args:
        prepare: called before the engine listens; returns what loads a model.
    Raises:
        Problem: of `prepare`, or the lock cannot be taken.
    """
    where = place()
    claim = Claim(where)
    if not claim.take():
        print(f"green-code: an engine already listens at {where.address}", file=sys.stderr)
        return ALREADY_RUNNING
    _log_to(where.log_path)
    faulthandler.enable()
    try:
        asyncio.run(_serve(where, claim, prepare()))
    finally:
        claim.release()
        log.info("engine ended")
        logging.shutdown()
    return 0


async def _serve(where: Place, claim: Claim, load: LoadRuntime) -> None:
    stopped, api_keys = asyncio.Event(), dict[str, str]()
    ledger = Ledger(folders.ledger_path())
    service = Service(with_endpoints(load, api_keys), ledger, where.losses_path, stopped.set, api_keys=api_keys)
    server = LinkServer(service)
    _stop_on_signals(stopped)  # before the socket exists: a client may stop the engine as soon as it sees it
    await server.start(where.address)
    log.info("engine %s listens at %s, pid %d", __version__, where.address, os.getpid())
    watcher = BundleWatcher(folders.bundles_dir(), service.bundles_changed)
    watcher.start()
    idle = asyncio.get_running_loop().create_task(service.watch_idleness())
    await stopped.wait()
    idle.cancel()
    watcher.stop()
    service.close()
    await asyncio.sleep(0)  # lets the refusals of service.close() be sent
    await server.stop()
    claim.release()
    ledger.close()


def _stop_on_signals(stopped: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stopped.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))


def leave(status: int) -> None:
    """End the process even if the compute thread hangs; all data is already on disk."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(timeout=1.0)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    log_to(handler, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    path.chmod(0o600)
