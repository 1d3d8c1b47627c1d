"""One model, where it is wanted: loaded in the background, loaded again when its bundle changes, released when nobody uses it.

Loading does not depend on a request: requests wait for it, and cancelling them does not stop it. A failure reaches every waiting request;
the next request after a back-off tries again. Where loading makes no progress, as on a network drive that is away, those who wait are told
so; it goes on, and serves if it succeeds. Where a device fails, in loading or later, the processor serves, and the device is tried again
in the background, at the first request after a back-off.
Must not know: connections, the ledger, other models, or torch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from green_code.endpoints import is_endpoint
from green_code.engine.back_off import BackOff
from green_code.engine.device_losses import DeviceLosses
from green_code.engine.interfaces import REMOTE, DeviceProblem, EndpointProblem, LoadRuntime, Runtime
from green_code.engine.load_thread import load_in_thread
from green_code.engine.loaded_model import LoadedModel
from green_code.engine.model_status import ModelStatus
from green_code.engine.requests import Job, Wanted
from green_code.engine.shadow import ShadowChecks
from green_code.link.messages import CompletionResult, State
from green_code.problems import Problem, retrieve_exception, too_large

log = logging.getLogger(__name__)

STALLED_SECONDS: Final = 120.0
"""Requests stop waiting for a model whose loading has made no progress for this long."""


@dataclass
class Shared:
    """What the engine's models have in common.

    Args:
        compute: the one compute thread. A server, for which it would wait, has a thread of its own.
        make_room: called before weights are opened, with their bytes; raises Problem if there is no memory for them.
        on_status: called when the status of a model has changed. on_loaded: called when a model has been loaded. on_released: called
            with one that is released.
    """

    load: LoadRuntime
    compute: Executor
    losses: DeviceLosses
    clock: Callable[[], float]
    on_battery: Callable[[], bool]
    make_room: Callable[[ModelHolder, int], Coroutine[Any, Any, None]]
    on_status: Callable[[ModelHolder], None]
    on_loaded: Callable[[ModelHolder], None]
    on_released: Callable[[LoadedModel], None] = lambda _: None


class ModelHolder:
    """Its methods are called on the event loop."""

    def __init__(self, wanted: Wanted, shared: Shared) -> None:
        self.wanted = wanted
        self._shared, self._clock = shared, shared.clock
        self._compute = ThreadPoolExecutor(1, "endpoint") if is_endpoint(wanted.model) else shared.compute
        self.status = ModelStatus(lambda: shared.on_status(self))
        self.loaded: LoadedModel | None = None
        self.bytes = 0
        """Of the weights, where they were opened."""
        self.users: dict[object, str] = {}
        """Who asked for it and has not asked for another model since, with names."""
        self.asked = -1
        """When a user asked for it, in the order of all such events."""
        self._jobs = 0  # that wait for it, or compute
        self._left_at = shared.clock()
        self._loading: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[LoadedModel] | None = None
        self._progress_at = shared.clock()
        self._reloading: asyncio.Task[None] | None = None
        self._changed = False  # its bundle, since it was read
        self._back_off = BackOff(shared.clock)
        self._device_back_off = BackOff(shared.clock)
        self._shadow: tuple[str, ShadowChecks] | None = None
        self.device_lost = False
        """Whether the device cannot be used again before the engine has been restarted."""

    @property
    def is_used(self) -> bool:
        """Whether anybody needs it."""
        return bool(self.users) or self._jobs > 0

    @property
    def unused_seconds(self) -> float:
        """Since nobody has needed it; -1: it is used."""
        return -1.0 if self.is_used else self._clock() - self._left_at

    @property
    def is_spent(self) -> bool:
        """Whether nothing is lost without it."""
        return not (self.is_used or self.loading or self.loaded is not None)

    def leave(self, user: object) -> None:
        """A user is gone, or asks for another model."""
        if self.users.pop(user, None) is not None:
            self._left_at = self._clock()

    def job(self, change: int) -> None:
        """A job for this model has come, or ended."""
        self._jobs += change
        self._left_at = self._clock()

    @property
    def name(self) -> str:
        return self.wanted.model

    @property
    def loading(self) -> bool:
        """Whether the model is being loaded."""
        return self._loading is not None and not self._loading.done()

    @property
    def stalled(self) -> bool:
        """Whether it is being loaded, and nobody waits for it any more."""
        return self.loading and self._ready is not None and self._ready.done()

    def serves(self, wanted: Wanted) -> bool:
        """Whether this model is the one, and where it is wanted."""
        devices = {self.wanted.device, *([self.loaded.runtime.device] if self.loaded is not None else ())}
        return self.name == wanted.model and wanted.device in devices

    def begin(self) -> None:
        """Start loading without waiting, unless the model is loaded or loading, or has just failed."""
        if self.loaded is None and not self.loading and not self._back_off.waits:
            self._start()

    async def ready(self) -> LoadedModel:
        """The loaded model, after loading it if necessary.

        Raises:
            Problem: loading failed, now or less than a back-off ago, or makes no progress.
        """
        while True:
            if self.loaded is not None:
                if self._device_back_off.problem is not None and self._device_is_due and not self._is_reloading:
                    self._reload()
                return self.loaded
            if not self.loading:
                if (failed := self._back_off.problem) is not None and self._back_off.waits:
                    raise Problem(failed.reason, str(failed))
                self._start()
            assert self._ready is not None
            loaded = await asyncio.shield(self._ready)
            if not loaded.closed:
                return loaded

    def check_progress(self) -> None:
        """Tell those who wait if loading makes no progress."""
        if self._ready is None or self._ready.done() or self._clock() - self._progress_at < STALLED_SECONDS:
            return
        problem = Problem(
            "engine_starting",
            f"Loading {self.name} has made no progress for {STALLED_SECONDS:.0f} s. Check the drive that it is on, or select "
            "another model; Green Code: Restart Engine gives it up.",
        )
        log.error("%s", problem)
        self.status.set("error", str(problem), None, problem.reason)
        self._ready.set_exception(problem)

    def bundle_changed(self) -> None:
        """The model's bundle changed on disk: if it is loaded, load it again and replace the old one.

        Jobs use the old one meanwhile. If the bundle is refused, the old one stays, and the status says why. A model whose
        loading failed may be tried again at once.
        """
        self._back_off.retry()
        if self.loaded is not None or self.loading:
            log.info("the bundle of %s changed", self.name)
            self._changed = True  # the current loading may have read the bundle before the change
            self._reload()

    def device_failed(self, loaded: LoadedModel, problem: DeviceProblem) -> None:
        """The loaded model's device failed: the next `ready` loads it on the processor."""
        if self.loaded is loaded:
            log.error("%s failed", problem.device, exc_info=problem)
            self._note_device(problem)
            self.release()

    def evict(self, problem: Problem) -> Future[None] | None:
        """Release the model because another one needs its memory, or it fails; requests get `problem` until a back-off has passed."""
        self._note_failure(problem)
        return self.release()

    def try_again(self) -> None:
        """What it failed for has changed: the next request does not wait."""
        self._back_off.retry()
        self._back_off.worked()

    async def compute(self, loaded: LoadedModel, job: Job) -> CompletionResult | None:
        """Run a job on the compute thread, after those queued before it.

        Raises:
            EndpointProblem: a server failed; it is left alone until a back-off has passed.
        """
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._compute, loaded.complete, job)
        except EndpointProblem as problem:
            if self.loaded is loaded:
                self.evict(problem)
            raise
        self._back_off.worked()
        if loaded.runtime.device not in ("cpu", REMOTE):
            self._shared.losses.serves()
        return result

    async def measure(self, loaded: LoadedModel, interrupted: Callable[[], bool]) -> None:
        """Measure a piece of what work costs on the compute thread, after the jobs queued before it."""
        await asyncio.get_running_loop().run_in_executor(self._compute, loaded.measure, interrupted)

    def forget(self, owner: object) -> None:
        """Drop the sessions of a connection that has ended."""
        if self.loaded is not None:
            self._compute.submit(self.loaded.forget, owner)

    def trim(self) -> None:
        """Drop the sessions' caches; the model stays loaded."""
        if self.loaded is not None:
            self._compute.submit(self.loaded.trim)

    def rest(self) -> None:
        """Release the model because nobody has used it for a while."""
        if self.release() is not None:
            self.status.set("ready", "Idle; the model was released and loads at the next request", None, None)

    def release(self) -> Future[None] | None:
        """Release the model, after the jobs that are queued for it; the future is done when its memory is free."""
        if (loaded := self.loaded) is None:
            return None
        loaded.closed, self.loaded = True, None
        self._shared.on_released(loaded)
        return self._compute.submit(loaded.close)

    # --- loading ------------------------------------------------------------------------------------------
    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        self._ready.add_done_callback(retrieve_exception)
        self._loading = loop.create_task(self._load(self._ready))

    async def _load(self, ready: asyncio.Future[LoadedModel]) -> None:
        """Those who wait get the model or a problem before anybody is told: to tell may fail as well, for lack of memory."""
        self._changed = False
        try:
            self.status.set("loading", f"Loading {self.name}", None, None)
            runtime = await self._load_on_device()
        except Exception as error:
            problem = _as_problem(self.name, error)
            if not ready.done():
                ready.set_exception(problem)
            self._note_failure(problem)
            return
        self._back_off.recovered()
        self.loaded = loaded = self._with_checks(runtime)
        if not ready.done():
            ready.set_result(loaded)
        self._show_ready(loaded, f"{self.name} is ready")
        self._shared.on_loaded(self)
        if self._changed:
            self._reload()

    async def _load_on_device(self) -> Runtime:
        """On the device that is wanted; on the processor where that fails, or has failed and its back-off lasts."""
        if self._device_is_due:
            try:
                runtime = await self._load_in_thread(self.wanted.device)
            except DeviceProblem as problem:
                log.error("%s cannot be used", problem.device, exc_info=problem)
                self._note_device(problem)
            else:
                self._device_back_off.recovered()
                return runtime
        return await self._load_in_thread("cpu")

    def _show_ready(self, loaded: LoadedModel, text: str) -> None:
        """`text`, unless there is more to say of the device."""
        if (failed := self._device_back_off.problem) is not None:
            text = f"{failed} {self.name} runs on the processor; {self._shared.losses.outlook}"
            self.status.set("ready", text, None, failed.reason)
            return
        notice = loaded.runtime.notice
        self.status.set("ready", f"{text}; {notice}" if notice else text, None, "no_memory" if notice else None)

    def _with_checks(self, runtime: Runtime) -> LoadedModel:
        """With the checks of these weights; they continue if the same weights are loaded again."""
        if self._shadow is None or self._shadow[0] != runtime.weights:
            self._shadow = runtime.weights, ShadowChecks(runtime.calibration, self._shared.on_battery)
        return LoadedModel(self.wanted, runtime, self._shadow[1], self._clock)

    def _note_failure(self, problem: Problem) -> None:
        self._back_off.failed(problem)
        self.status.set("error", str(problem), None, problem.reason)

    def _note_device(self, problem: DeviceProblem) -> None:
        if problem.lost:
            self.device_lost = True
            self._shared.losses.lost()
        self._device_back_off.failed(problem)

    @property
    def _device_is_due(self) -> bool:
        """Whether the device may be tried now."""
        back_off = self._device_back_off
        return back_off.problem is None or not (self.device_lost or back_off.waits)

    @property
    def _is_reloading(self) -> bool:
        return self._reloading is not None and not self._reloading.done()

    def _reload(self) -> None:
        if self.loaded is not None and not self._is_reloading:
            self._reloading = asyncio.get_running_loop().create_task(self._swap_until_unchanged())

    async def _swap_until_unchanged(self) -> None:
        while self.loaded is not None:
            changed, self._changed = self._changed, False
            if not await self._swap(self.loaded):
                self._changed |= changed  # without the device, next
            if not self._changed:
                return

    async def _swap(self, old: LoadedModel) -> bool:
        """Replace the loaded model, on the device if that may be tried; False: the device failed."""
        on_device = self._device_is_due
        try:
            runtime = await self._load_in_thread(self.wanted.device if on_device else "cpu", quiet=True)
        except DeviceProblem as failed:
            self._note_device(failed)
            return False
        except Exception as error:
            problem = _as_problem(self.name, error)
            if self.loaded is old:
                self.status.set("ready", f"{problem} The loaded model stays.", None, problem.reason)
            return True
        if self.loaded is not old:  # released meanwhile
            runtime.close()
            return True
        if old.runtime.bundle and not runtime.bundle:  # its files are being replaced
            runtime.close()
            text = f"The bundle of {self.name} is gone. The loaded model stays; reinstall the bundle."
            self.status.set("ready", text, None, "bundle_invalid")
            return True
        self.release()
        self.loaded = self._with_checks(runtime)
        again = "was loaded again with its changed bundle"
        if on_device and self._device_back_off.problem is not None:
            self._device_back_off.recovered()
            again = f"runs on {runtime.device} again"
        self._show_ready(self.loaded, f"{self.name} {again}")
        return True

    def _load_in_thread(self, device: str, quiet: bool = False) -> asyncio.Future[Runtime]:
        self._progress_at = self._clock()

        def progress(state: State, sentence: str, fraction: float | None) -> None:
            self._progress_at = self._clock()
            if not quiet:
                self.status.set(state, sentence, fraction, None)

        async def make_room(size: int) -> None:
            await self._shared.make_room(self, size)

        return load_in_thread(self._shared.load, self.name, device, progress, None if quiet else make_room)


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
