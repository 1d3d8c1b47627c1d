"""The engine's service: answers the link's methods with the models that its peers ask for.

The newest request of a session supersedes its older ones; a request of a peer that disconnects is cancelled; every request
is answered. What peers are told unasked is in notifications.py, what is computed while there is no request in idle_work.py.
Must not know: sockets and frames (link), how a model computes (interfaces.py), or torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from green_code.energy.ledger import Ledger
from green_code.energy.rows import Row, new_id
from green_code.engine.device_losses import RESTART_SECONDS, DeviceLosses
from green_code.engine.holder import ModelHolder
from green_code.engine.idle import CHECK_SECONDS, LEFT_SECONDS, IdleLadder
from green_code.engine.idle_draw import IdleDraw
from green_code.engine.idle_work import IdleWork
from green_code.engine.interfaces import DeviceProblem, LoadRuntime
from green_code.engine.ledger_rows import idle_row, ledger_row
from green_code.engine.loaded_model import LoadedModel
from green_code.engine.models import Models
from green_code.engine.notifications import Notifications
from green_code.engine.peers import Peer
from green_code.engine.requests import REFUSAL_TEXTS, Job, Wanted
from green_code.engine.shadow import Candidate
from green_code.gpu.reserve import leave_free
from green_code.link import messages
from green_code.link.messages import CompletionParams, CompletionResult
from green_code.link.server import Connection
from green_code.problems import Problem

log = logging.getLogger(__name__)

IDLE_BOOKING_SECONDS: Final = 300.0
"""Between two rows of what a device drew because a model is resident."""

JOBS_AT_MOST: Final = 100
"""Requests of a peer that wait for their answers."""


class Service:
    """Implements `link.server.Handler`; lives on the event loop.

    Args:
        load: loads the runtime of a model's name.
        ledger: stores a row per completion.
        losses: file that keeps for later engines how often the device was lost.
        stop: ends the process; called once.
        clock: monotonic seconds; replaced in tests.
        api_keys: of servers, by origin, for `load`; clients send them.
    """

    def __init__(
        self,
        load: LoadRuntime,
        ledger: Ledger,
        losses: Path,
        stop: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        api_keys: dict[str, str] | None = None,
    ) -> None:
        self._api_keys = {} if api_keys is None else api_keys
        self._ledger = ledger
        self._stop = stop
        self._losses = DeviceLosses(losses, clock)
        self._models = Models(
            load, self._losses, lambda holder: self.notifications.send_status(holder), clock, on_released=self._released
        )
        self._clock = clock
        self._ladder = IdleLadder(clock)
        self._idle_draw = IdleDraw(clock)
        self._last_peer_left_at: float | None = clock()  # a front may end before its hello
        # Both are shared with what follows: changed in place, never replaced.
        self._peers: dict[Connection, Peer] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._newest: dict[str, Job] = {}
        self.notifications = Notifications(self._models, ledger, self._peers)
        self._idle_work = IdleWork(
            self._models, self._ladder, self._peers, self._work, self._store, self.notifications.send_status
        )

    # --- link.server.Handler ------------------------------------------------------------------------------
    def hello(self, connection: Connection, params: dict[str, Any]) -> str:
        """A peer connected; with a model's name, begin to load it."""
        self._last_peer_left_at = None
        self._ladder.touch()
        peer = self._peers[connection] = Peer(window=params.get("window", ""))
        if (gigabytes := params.get("gpu_reserve")) is not None:
            leave_free(gigabytes)
        if (model := params.get("model")) is not None:
            with contextlib.suppress(Problem):  # the first request will get it
                wanted = Wanted(model, params.get("device", "auto"))
                self._models.use(connection, peer.window, wanted).begin()
        return self.notifications.status(connection)["state"]

    def request(self, connection: Connection, request_id: int, method: str, params: dict[str, Any]) -> Awaitable[Any]:
        """Begin to answer one of the methods of docs/protocol.md."""
        self._ladder.touch()
        loop = asyncio.get_running_loop()
        if method == messages.COMPLETE:
            return self._complete(connection, request_id, cast(CompletionParams, params))
        if method == messages.REPORT:
            return loop.run_in_executor(None, self._ledger.report)
        answer = loop.create_future()
        if method == messages.STATUS:
            answer.set_result(self.notifications.status(connection))
        elif method == messages.SHUTDOWN:
            log.info("shutdown requested")
            loop.call_soon(self._stop)
            answer.set_result({})
        else:
            raise Problem("bad_request", f"Bad request: {method} is a notification.")
        return answer

    def notification(self, connection: Connection, method: str, params: dict[str, Any]) -> None:
        """`cancel`, `shown`, `accepted`, `retained` and `api_key`."""
        self._ladder.touch()
        peer = self._peers[connection]
        if method == messages.CANCEL:
            if (job := peer.jobs.get(params["id"])) is not None:
                job.refuse("cancelled")
        elif method == messages.SHOWN:
            row_id, characters = params["id"], params["characters"]
            self._ledger.show(row_id, characters)
            if (row := peer.rows.get(row_id)) is not None:
                peer.change(row, row.with_shown(characters))
                self.notifications.schedule_energy()
        elif method == messages.ACCEPTED:
            row_id, characters = params["id"], params.get("characters")
            self._ledger.accept(row_id, characters)
            if (row := peer.rows.get(row_id)) is not None:
                peer.change(row, row.with_accepted(characters))
                self.notifications.schedule_energy()
        elif method == messages.RETAINED:
            row_id = params["id"]
            self._ledger.retain(row_id)
            if (row := peer.rows.get(row_id)) is not None and row.accepted:
                peer.change(row, replace(row, retained=1))
                self.notifications.schedule_energy()
        elif method == messages.API_KEY:
            origin, api_key = params["endpoint"], params["api_key"]
            if self._api_keys.get(origin, "") != api_key:
                self._api_keys[origin] = api_key
                self._models.try_again(origin)
        else:
            raise Problem("bad_request", f"Bad request: {method} is a request, which has an id.")

    def disconnected(self, connection: Connection) -> None:
        """A peer disconnected: cancel its requests."""
        if (peer := self._peers.pop(connection, None)) is None:
            return
        for job in tuple(peer.jobs.values()):
            job.refuse("cancelled")
        self._models.leave(connection)
        if not self._peers:
            self._last_peer_left_at = self._clock()

    # --- completions --------------------------------------------------------------------------------------
    def _complete(
        self, connection: Connection, request_id: int, params: CompletionParams
    ) -> asyncio.Future[CompletionResult]:
        peer = self._peers[connection]
        if request_id in peer.jobs or len(peer.jobs) >= JOBS_AT_MOST:
            raise Problem(
                "bad_request", f"Request {request_id} is one of {len(peer.jobs)} that wait for their answers."
            )
        holder = self._models.use(connection, peer.window, Wanted(params["model"], params["device"]))
        job = peer.jobs[request_id] = Job(connection, params)
        self._idle_work.end_check("superseded")
        session = params["session"]
        if (older := self._newest.get(session)) is not None:
            older.refuse("superseded")
        self._newest[session] = job

        def answered(_: object) -> None:
            peer.jobs.pop(request_id, None)
            if self._newest.get(session) is job:
                del self._newest[session]

        job.answer.add_done_callback(answered)
        holder.job(+1)
        task = asyncio.get_running_loop().create_task(self._run(job, holder))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return job.answer

    async def _run(self, job: Job, holder: ModelHolder) -> None:
        """Compute a job and answer it. A job that is refused while it runs is recorded too: it has cost joules."""
        try:
            loaded, result = await self._computed(job, holder)
            if result is not None:
                if result["reason"] not in REFUSAL_TEXTS:
                    loaded.shadow.completed(Candidate(job.owner, job.params, result))
                self._record(job, result)
                job.finish(result)
        except Problem as problem:
            job.finish(problem)
        except Exception as error:
            log.exception("a completion failed")
            text = f"The model failed: {type(error).__name__}: {error}. The engine's log has the details."
            job.finish(Problem("internal_error", text))
        finally:
            holder.job(-1)

    async def _computed(self, job: Job, holder: ModelHolder) -> tuple[LoadedModel, CompletionResult | None]:
        """The job's result and the model that gave it; once more on the processor where a device fails."""
        while True:
            loaded = await holder.ready()
            if job.answer.done():
                return loaded, None
            holder.status.computing(+1)
            try:
                return loaded, await holder.compute(loaded, job)
            except DeviceProblem as problem:
                holder.device_failed(loaded, problem)
            finally:
                self._ladder.touch()
                holder.status.computing(-1)

    def _record(self, job: Job, result: CompletionResult) -> None:
        result["id"] = new_id()
        reason = job.refusal or result["reason"]
        row = ledger_row(job.params, result, reason)
        peer = self._store(row, job.owner)
        if peer is not None and reason not in REFUSAL_TEXTS:
            peer.completed(job.params, result)

    def _store(self, row: Row, owner: object) -> Peer | None:
        """Add a row to the ledger and to its peer's totals; returns the peer if it is still connected."""
        self._ledger.record(row)
        peer = self._peers.get(owner) if isinstance(owner, Connection) else None
        if peer is not None:
            peer.add(row)
        self.notifications.schedule_energy()
        return peer

    # --- models -------------------------------------------------------------------------------------------
    def bundles_changed(self, names: set[str]) -> None:
        """Bundles of these names changed on disk."""
        self._models.bundles_changed(names)

    def _released(self, loaded: LoadedModel) -> None:
        """Add what its card drew until now: the model may be the last one there."""
        beside = (other for other in self._models.loaded if other.runtime.card == loaded.runtime.card)
        self._book_idle([loaded, *beside])

    def _book_idle(self, models: list[LoadedModel], least_seconds: float = 0.0) -> None:
        """Add what cards drew because these models are resident."""
        for model, joules in self._idle_draw.book(models, least_seconds):
            self._store(idle_row(model, joules), None)

    # --- life ---------------------------------------------------------------------------------------------
    async def watch_idleness(self) -> None:
        """Check for idleness until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self.idle_tick()

    def idle_tick(self) -> None:
        """Take the steps of the idle ladder that are due; end if the last peer disconnected some time ago."""
        self.notifications.check_ledger()
        for holder in self._models:
            holder.check_progress()
        self._models.release_unused()
        self._book_idle(self._models.loaded, IDLE_BOOKING_SECONDS)
        if self._work or any(holder.loading and not holder.stalled for holder in self._models):
            self._ladder.touch()
            return
        if self._last_peer_left_at is not None and self._clock() - self._last_peer_left_at >= LEFT_SECONDS:
            log.info("idle: the last peer has disconnected")
            self._stop()
            return
        lost = any(holder.device_lost for holder in self._models) and self._losses.restart_is_due
        if lost and self._ladder.idle_seconds >= RESTART_SECONDS:
            log.info("idle: the device is lost; one of the fronts restarts the engine")
            self._stop()
            return
        for holder in self._models:
            if (loaded := holder.loaded) is not None:
                self._idle_work.begin(holder, loaded)
        for step in self._ladder.due():
            log.info("idle: %s", step)
            if step == "exit":
                self._stop()
                return
            for holder in self._models:
                if step == "trim":
                    holder.trim()
                else:
                    holder.rest()

    def close(self) -> None:
        """Refuse all waiting requests, and release the model."""
        for peer in self._peers.values():
            for job in tuple(peer.jobs.values()):
                job.refuse("engine_lost")
        self._idle_work.end_check("engine_lost")
        self.notifications.close()
        self._models.stop()
