"""The one model of the engine: loaded in the background, used by one compute thread, let go when idle.

Loading belongs to nobody's request: requests wait for it, and may be cancelled while it goes on. A failure
is told to all who wait; the next request after a back-off tries again. Another model takes the place of the
one held, after the jobs that were already queued for it.
Must not know: connections, the ledger, or torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from green_code.battery import Battery
from green_code.engine.interfaces import LoadRuntime, Runtime, Session
from green_code.engine.requests import Job, threshold_in_force
from green_code.engine.shadow import ShadowChecks
from green_code.link.messages import CompletionResult, State
from green_code.problems import Problem, too_large

log = logging.getLogger(__name__)

SESSIONS_AT_MOST: Final = 10
FIRST_BACK_OFF_SECONDS: Final = 2.0
LAST_BACK_OFF_SECONDS: Final = 60.0
HANDOVER_SECONDS: Final = 0.05
"""A model that has just been loaded is kept at least this long, so that those who waited for it get their
turn even when another one is already asked for; else two windows could reload for ever."""

OnStatus = Callable[[State, str, "float | None", "str | None"], None]


class Held:
    """A loaded runtime, its shadow checks and its sessions; the sessions belong to the compute thread."""

    def __init__(self, name: str, runtime: Runtime, shadow: ShadowChecks) -> None:
        self.name = name
        self.runtime = runtime
        self.shadow = shadow
        self.closed = False
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def complete(self, job: Job) -> CompletionResult | None:
        """Run a job on the compute thread; None when it was refused before it began.

        Where the agent decides, the threshold that is in force takes the place of the one that was asked for.
        """
        if job.refusal is not None:
            return None
        job.params["threshold"] = threshold_in_force(job.params, self.runtime, self.shadow.least_threshold)
        key = job.params["session"]
        session = self._sessions.pop(key, None) or self.runtime.new_session()
        result = session.complete(job.params, lambda: job.refusal)
        self._sessions[key] = session  # a session whose completion raised is not kept: its state is unknown
        while len(self._sessions) > SESSIONS_AT_MOST:
            self._sessions.popitem(last=False)[1].trim()
        return result

    def trim(self) -> None:
        """Drop every session's caches, on the compute thread."""
        for session in self._sessions.values():
            session.trim()
        self._sessions.clear()

    def close(self) -> None:
        """Give everything back, on the compute thread."""
        self._sessions.clear()
        self.runtime.close()


class _Failure:
    """Why a model could not be loaded, and when to try again."""

    def __init__(self, problem: Problem, now: float, before: _Failure | None) -> None:
        self.problem = problem
        self.wait_seconds: float = (
            FIRST_BACK_OFF_SECONDS if before is None else min(2 * before.wait_seconds, LAST_BACK_OFF_SECONDS)
        )
        self.retry_at = now + self.wait_seconds


class ModelHolder:
    """Loads, lends and releases; its methods are called on the event loop."""

    def __init__(
        self,
        load: LoadRuntime,
        on_status: OnStatus,
        clock: Callable[[], float],
        on_battery: Callable[[], bool] | None = None,
    ) -> None:
        self._load = load
        self._on_battery = on_battery or Battery()
        self._shadows: dict[tuple[str, str], ShadowChecks] = {}
        self._on_status = on_status
        self._clock = clock
        self._compute = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        self._loading: tuple[str, asyncio.Task[Held]] | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._changed = False
        self._failures: dict[str, _Failure] = {}
        self.held: Held | None = None

    @property
    def loading(self) -> bool:
        """Whether a model is on its way."""
        return self._loading is not None and not self._loading[1].done()

    def begin(self, model: str) -> None:
        """Start loading, unless it is loaded, loading, or has just failed; nobody waits."""
        if self.held is None and not self.loading and not self._failed_lately(model):
            self._start(model)

    async def ready(self, model: str) -> Held:
        """The loaded model, waiting for it as long as it takes.

        Raises:
            Problem: loading failed, now or less than a back-off ago.
        """
        while True:
            if self.held is not None and self.held.name == model:
                return self.held
            if self._loading is None or self._loading[1].done() or self._loading[0] != model:
                if (failure := self._failed_lately(model)) is not None:
                    raise Problem(failure.problem.reason, str(failure.problem))
                self._start(model)
            assert self._loading is not None
            held = await asyncio.shield(self._loading[1])
            if not held.closed:
                return held

    def bundles_changed(self, names: set[str]) -> None:
        """Bundles of these names changed on disk: load the model held once more, and swap the two.

        Jobs go on with the old one meanwhile; a bundle that is refused leaves it in place, and the status says why.
        A model whose load failed may be tried again at once.
        """
        for model in [model for model in self._failures if Path(model).name in names]:
            del self._failures[model]
        if self.held is not None:
            model = self.held.name
        elif self._loading is not None and self.loading:
            model = self._loading[0]
        else:
            return
        if Path(model).name in names:
            log.info("the bundle of %s changed", model)
            self._changed = True  # a load that is under way may have read the bundle before it changed
            self._reload()

    def _reload(self) -> None:
        if self.held is not None and (self._reloading is None or self._reloading.done()):
            self._reloading = asyncio.get_running_loop().create_task(self._swap_while_changed())

    async def compute(self, held: Held, job: Job) -> CompletionResult | None:
        """Run a job in its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._compute, held.complete, job)

    def trim(self) -> None:
        """Drop the caches, keep the model."""
        if self.held is not None:
            self._compute.submit(self.held.trim)

    def release(self) -> None:
        """Let the model go, after the jobs that are queued for it."""
        if self.held is not None:
            self.held.closed = True
            self._compute.submit(self.held.close)
            self.held = None

    def stop(self) -> None:
        """Take no more work; what runs ends by itself."""
        self.release()
        self._compute.shutdown(wait=False)

    def _shadow_of(self, model: str, runtime: Runtime) -> ShadowChecks:
        """Those of the same weights and calibration go on where they were."""
        key = model, runtime.weights
        if key not in self._shadows:
            self._shadows[key] = ShadowChecks(runtime.calibration, self._on_battery)
        return self._shadows[key]

    def _failed_lately(self, model: str) -> _Failure | None:
        failure = self._failures.get(model)
        return failure if failure is not None and self._clock() < failure.retry_at else None

    def _start(self, model: str) -> None:
        before = self._loading[1] if self._loading is not None else None
        task = asyncio.get_running_loop().create_task(self._bring(model, before))
        task.add_done_callback(_retrieve)
        self._loading = (model, task)

    async def _bring(self, model: str, before: asyncio.Task[Held] | None) -> Held:
        if before is not None:
            await asyncio.wait([before])
            await asyncio.sleep(HANDOVER_SECONDS)
        self.release()
        self._on_status("loading", f"Loading {model}", None, None)
        self._changed = False
        try:
            runtime = await self._load_in_thread(model)
        except Exception as error:
            problem = _as_problem(model, error)
            self._failures[model] = _Failure(problem, self._clock(), self._failures.get(model))
            self._on_status("error", str(problem), None, problem.reason)
            raise problem from error
        self._failures.pop(model, None)
        self.held = Held(model, runtime, self._shadow_of(model, runtime))
        self._on_status("ready", f"{model} is ready", None, None)
        if self._changed:
            self._reload()
        return self.held

    async def _swap_while_changed(self) -> None:
        while self._changed and self.held is not None:
            self._changed = False
            await self._swap(self.held)

    async def _swap(self, old: Held) -> None:
        try:
            runtime = await self._load_in_thread(old.name, quiet=True)
        except Exception as error:
            problem = _as_problem(old.name, error)
            if self.held is old:
                self._on_status("ready", f"{problem} The model in use stays.", None, problem.reason)
            return
        if self.held is not old:  # released, or another model took its place meanwhile
            runtime.close()
            return
        if (
            old.runtime.bundle and not runtime.bundle
        ):  # its files are being replaced, and those that make it one are missing
            runtime.close()
            text = f"The bundle of {old.name} has no manifest. The model in use stays."
            self._on_status("ready", text, None, "bundle_invalid")
            return
        self.release()
        self.held = Held(old.name, runtime, self._shadow_of(old.name, runtime))
        self._on_status("ready", f"{old.name} was loaded again with its changed bundle", None, None)

    def _load_in_thread(self, model: str, quiet: bool = False) -> asyncio.Future[Runtime]:
        """A thread of its own, and a daemon: a load that hangs keeps no process alive."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Runtime] = loop.create_future()

        def progress(state: State, sentence: str, fraction: float | None) -> None:
            if quiet:
                return
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._on_status, state, sentence, fraction, None)

        def propagate_before(runtime: Runtime | None, error: BaseException | None) -> None:
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
                runtime = self._load(model, progress)
            except BaseException as caught:
                error = caught if isinstance(caught, Exception) else RuntimeError(repr(caught))
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(propagate_before, runtime, error)

        threading.Thread(target=work, name="load-model", daemon=True).start()
        return future


def _as_problem(model: str, error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    log.error("loading %s failed", model, exc_info=error)
    if isinstance(error, MemoryError):
        return too_large(model)
    return Problem(
        "internal_error",
        f"Loading {model} failed: {type(error).__name__}: {error}. Run `green-code doctor`; the "
        "log has the details.",
    )


def _retrieve(task: asyncio.Task[Held]) -> None:
    """Look at a load's failure, which nobody may be waiting for; it has been told through the status."""
    if not task.cancelled():
        task.exception()
