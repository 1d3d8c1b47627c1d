"""The engine's one model: loaded in the background, used by one compute thread, released when idle.

Loading does not depend on a request: requests wait for it, and cancelling them does not stop it. A failure reaches every
waiting request; the next request after a back-off tries again. Where a device fails, in loading or later, the processor serves, and the
device is tried again in the background, at the first request after a back-off. Another model replaces the loaded one after the jobs that
were already queued for that one.
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
from typing import Final, NamedTuple

from green_code.battery import Battery
from green_code.engine.interfaces import DeviceProblem, LoadRuntime, Runtime, Session
from green_code.engine.requests import Job, threshold_in_force
from green_code.engine.shadow import ShadowChecks
from green_code.link.messages import CompletionResult, State
from green_code.problems import Problem, retrieve_exception, too_large

log = logging.getLogger(__name__)

SESSIONS_AT_MOST: Final = 10
FIRST_BACK_OFF_SECONDS: Final = 2.0
LAST_BACK_OFF_SECONDS: Final = 60.0
HANDOVER_SECONDS: Final = 0.05
"""A model stays loaded at least this long, so that the requests that waited for it are served before another model
replaces it. Otherwise two windows could reload for ever."""

OnStatus = Callable[[State, str, "float | None", "str | None"], None]


class Wanted(NamedTuple):
    """A model, and where it is to compute."""

    model: str
    device: str


class LoadedModel:
    """A runtime with its shadow checks and its sessions; only the compute thread uses the sessions."""

    def __init__(self, wanted: Wanted, runtime: Runtime, shadow: ShadowChecks) -> None:
        self.wanted = wanted
        self.runtime = runtime
        self.shadow = shadow
        self.closed = self._failed_to_measure = False
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    @property
    def name(self) -> str:
        return self.wanted.model

    def serves(self, wanted: Wanted) -> bool:
        """Whether this model is the one, and where it is wanted."""
        return self.name == wanted.model and wanted.device in (self.wanted.device, self.runtime.device)

    def complete(self, job: Job) -> CompletionResult | None:
        """Run a job, on the compute thread; None if it was refused before it began.

        Puts the threshold in force into the job's parameters.

        Raises:
            DeviceProblem: the device failed, and not the request.
        """
        if job.refusal is not None:
            return None
        job.params["threshold"] = threshold_in_force(job.params, self.runtime, self.shadow.least_threshold)
        key = job.params["session"]
        session = self._sessions.pop(key, None) or self.runtime.new_session()
        try:
            result = session.complete(job.params, lambda: job.refusal)
        except Problem:
            raise
        except Exception as error:
            if self.runtime.device == "cpu":
                raise
            raise DeviceProblem(self.runtime.device, error) from error
        self._sessions[key] = session  # not after an exception: the session's state is then unknown
        while len(self._sessions) > SESSIONS_AT_MOST:
            self._sessions.popitem(last=False)[1].trim()
        return result

    def measure(self, interrupted: Callable[[], bool]) -> None:
        """Measure a piece of what work costs, on the compute thread. Where that fails, it is not tried again."""
        try:
            if self.measurable:
                self.runtime.measure_costs(lambda: self.closed or interrupted())
        except Exception:
            log.exception("what work costs could not be measured, and stays assumed")
            self._failed_to_measure = True

    @property
    def measurable(self) -> bool:
        """Whether costs are assumed that could be measured."""
        return self.runtime.costs_assumed and not self.closed and not self._failed_to_measure

    def trim(self) -> None:
        """Drop every session's caches, on the compute thread."""
        for session in self._sessions.values():
            session.trim()
        self._sessions.clear()

    def close(self) -> None:
        """Free the memory, on the compute thread."""
        self._sessions.clear()
        self.runtime.close()


class _Failure:
    """Why a model could not be loaded, and when to try again."""

    def __init__(self, problem: Problem, now: float, before: _Failure | None) -> None:
        self.problem = problem
        self.wait_seconds = FIRST_BACK_OFF_SECONDS
        if before is not None:
            self.wait_seconds = min(2 * before.wait_seconds, LAST_BACK_OFF_SECONDS)
        self.retry_at = now + self.wait_seconds


class ModelHolder:
    """Loads, uses and releases the model; its methods are called on the event loop."""

    def __init__(
        self,
        load: LoadRuntime,
        on_status: OnStatus,
        clock: Callable[[], float],
        on_battery: Callable[[], bool] | None = None,
    ) -> None:
        self._load_runtime = load
        self.on_battery = on_battery or Battery()
        self._shadows: dict[tuple[str, str], ShadowChecks] = {}
        self._on_status = on_status
        self._clock = clock
        self._compute = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        self._loading: tuple[Wanted, asyncio.Task[LoadedModel]] | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._changed = False
        self._failures: dict[str, _Failure] = {}
        self._device_failures: dict[str, _Failure] = {}  # by the device that was wanted
        self._past_failures: dict[str, _Failure] = {}  # of devices that have loaded a model since
        self.loaded: LoadedModel | None = None

    @property
    def loading(self) -> bool:
        """Whether a model is being loaded."""
        return self._loading is not None and not self._loading[1].done()

    def begin(self, model: str, device: str = "auto") -> None:
        """Start loading without waiting, unless a model is loaded or loading, or this one has just failed."""
        if self.loaded is None and not self.loading and not self._failed_lately(model):
            self._start(Wanted(model, device))

    async def ready(self, model: str, device: str) -> LoadedModel:
        """The loaded model, after loading it if necessary.

        Raises:
            Problem: loading failed, now or less than a back-off ago.
        """
        wanted = Wanted(model, device)
        while True:
            if self.loaded is not None and self.loaded.serves(wanted):
                failure = self._device_failures.get(device) if self.loaded.wanted == wanted else None
                if failure is not None and self._clock() >= failure.retry_at and not self._is_reloading:
                    self._changed = True
                    self._reload()
                return self.loaded
            if self._loading is None or self._loading[1].done() or self._loading[0] != wanted:
                if (failure := self._failed_lately(model)) is not None:
                    raise Problem(failure.problem.reason, str(failure.problem))
                self._start(wanted)
            assert self._loading is not None
            loaded = await asyncio.shield(self._loading[1])
            if not loaded.closed:
                return loaded

    def bundles_changed(self, names: set[str]) -> None:
        """Bundles of these names changed on disk: if the loaded model's did, load it again and replace the old one.

        Jobs use the old one meanwhile. If the bundle is refused, the old one stays, and the status says why. A model whose
        loading failed may be tried again at once.
        """
        for model in [model for model in self._failures if Path(model).name in names]:
            del self._failures[model]
        if self.loaded is not None:
            model = self.loaded.name
        elif self._loading is not None and self.loading:
            model = self._loading[0].model
        else:
            return
        if Path(model).name in names:
            log.info("the bundle of %s changed", model)
            self._changed = True  # the current loading may have read the bundle before the change
            self._reload()

    def device_failed(self, loaded: LoadedModel, problem: DeviceProblem) -> None:
        """The loaded model's device failed: the next `ready` loads it on the processor."""
        if self.loaded is loaded:
            log.error("%s failed", problem.device, exc_info=problem)
            self._note_device(loaded.wanted.device, problem)
            self.release()

    def _note_device(self, wanted: str, problem: DeviceProblem) -> None:
        before = self._device_failures.get(wanted) or self._past_failures.get(wanted)
        self._device_failures[wanted] = _Failure(problem, self._clock(), before)

    def _device_loaded(self, wanted: str) -> bool:
        """Forget a device's failure, but not for how long it is left alone if it fails again; returns whether there was one."""
        if (failure := self._device_failures.pop(wanted, None)) is not None:
            self._past_failures[wanted] = failure
        return failure is not None

    @property
    def _is_reloading(self) -> bool:
        return self._reloading is not None and not self._reloading.done()

    def _reload(self) -> None:
        if self.loaded is not None and not self._is_reloading:
            self._reloading = asyncio.get_running_loop().create_task(self._swap_while_changed())

    async def compute(self, loaded: LoadedModel, job: Job) -> CompletionResult | None:
        """Run a job on the compute thread, after those queued before it."""
        return await asyncio.get_running_loop().run_in_executor(self._compute, loaded.complete, job)

    async def measure(self, loaded: LoadedModel, interrupted: Callable[[], bool]) -> None:
        """Measure a piece of what work costs on the compute thread, after the jobs queued before it."""
        await asyncio.get_running_loop().run_in_executor(self._compute, loaded.measure, interrupted)

    def trim(self) -> None:
        """Drop the sessions' caches; the model stays loaded."""
        if self.loaded is not None:
            self._compute.submit(self.loaded.trim)

    def release(self) -> None:
        """Release the model, after the jobs that are queued for it."""
        if self.loaded is not None:
            self.loaded.closed = True
            self._compute.submit(self.loaded.close)
            self.loaded = None

    def stop(self) -> None:
        """Release the model and accept no more jobs; a running one ends by itself."""
        self.release()
        self._compute.shutdown(wait=False)

    def _shadow_of(self, model: str, runtime: Runtime) -> ShadowChecks:
        """The checks of these weights; they continue if the same weights are loaded again."""
        key = model, runtime.weights
        if key not in self._shadows:
            self._shadows[key] = ShadowChecks(runtime.calibration, self.on_battery)
        return self._shadows[key]

    def _failed_lately(self, model: str) -> _Failure | None:
        failure = self._failures.get(model)
        return failure if failure is not None and self._clock() < failure.retry_at else None

    def _start(self, wanted: Wanted) -> None:
        before = self._loading[1] if self._loading is not None else None
        task = asyncio.get_running_loop().create_task(self._load(wanted, before))
        task.add_done_callback(retrieve_exception)
        self._loading = (wanted, task)

    async def _load(self, wanted: Wanted, before: asyncio.Task[LoadedModel] | None) -> LoadedModel:
        model = wanted.model
        if before is not None:
            await asyncio.wait([before])
            await asyncio.sleep(HANDOVER_SECONDS)
        self.release()
        self._on_status("loading", f"Loading {model}", None, None)
        self._changed = False
        try:
            runtime = await self._load_on_device(wanted)
        except Exception as error:
            problem = _as_problem(model, error)
            self._failures[model] = _Failure(problem, self._clock(), self._failures.get(model))
            self._on_status("error", str(problem), None, problem.reason)
            raise problem from error
        self._failures.pop(model, None)
        self.loaded = LoadedModel(wanted, runtime, self._shadow_of(model, runtime))
        if (failure := self._device_failures.get(wanted.device)) is not None:
            text = f"{failure.problem} {model} runs on the processor; the device is tried again later."
            self._on_status("ready", text, None, failure.problem.reason)
        else:
            self._on_status("ready", f"{model} is ready", None, None)
        if self._changed:
            self._reload()
        return self.loaded

    async def _load_on_device(self, wanted: Wanted) -> Runtime:
        """On the device that is wanted; on the processor where that fails, or has failed and its back-off lasts."""
        failure = self._device_failures.get(wanted.device)
        if failure is None or self._clock() >= failure.retry_at:
            try:
                runtime = await self._load_in_thread(wanted)
            except DeviceProblem as problem:
                log.error("%s cannot be used", problem.device, exc_info=problem)
                self._note_device(wanted.device, problem)
            else:
                self._device_loaded(wanted.device)
                return runtime
        return await self._load_in_thread(Wanted(wanted.model, "cpu"))

    async def _swap_while_changed(self) -> None:
        while self._changed and self.loaded is not None:
            self._changed = False
            await self._swap(self.loaded)

    async def _swap(self, old: LoadedModel) -> None:
        try:
            runtime = await self._load_in_thread(old.wanted, quiet=True)
        except DeviceProblem as failed:
            self._note_device(old.wanted.device, failed)
            return
        except Exception as error:
            problem = _as_problem(old.name, error)
            if self.loaded is old:
                self._on_status("ready", f"{problem} The loaded model stays.", None, problem.reason)
            return
        if self.loaded is not old:  # released or replaced meanwhile
            runtime.close()
            return
        if old.runtime.bundle and not runtime.bundle:  # its files are being replaced
            runtime.close()
            text = f"The bundle of {old.name} is gone. The loaded model stays; reinstall the bundle."
            self._on_status("ready", text, None, "bundle_invalid")
            return
        self.release()
        self.loaded = LoadedModel(old.wanted, runtime, self._shadow_of(old.name, runtime))
        if self._device_loaded(old.wanted.device):
            self._on_status("ready", f"{old.name} runs on {runtime.device} again", None, None)
        else:
            self._on_status("ready", f"{old.name} was loaded again with its changed bundle", None, None)

    def _load_in_thread(self, wanted: Wanted, quiet: bool = False) -> asyncio.Future[Runtime]:
        """Load on a daemon thread: loading that hangs does not keep the process alive."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Runtime] = loop.create_future()

        def progress(state: State, sentence: str, fraction: float | None) -> None:
            if quiet:
                return
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._on_status, state, sentence, fraction, None)

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
                runtime = self._load_runtime(wanted.model, progress, wanted.device)
            except BaseException as caught:
                error = caught if isinstance(caught, Exception) else RuntimeError(repr(caught))
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(finish, runtime, error)

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
        f"Loading {model} failed: {type(error).__name__}: {error}. Run `green-code doctor`; the log has the details.",
    )
