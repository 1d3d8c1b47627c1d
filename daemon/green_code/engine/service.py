"""The engine's service: answers the link's methods with one model.

The newest request of a session supersedes its older ones; a request of a peer that disconnects is cancelled; every request
is answered. The status goes to all peers on each change. Energy goes at most once a second to each peer that has completed
something, with that peer's totals and last completion. While there is no request, shadow checks may run (shadow.py), and costs that
are assumed are measured, in pieces.
Must not know: sockets and frames (link), how a model computes (interfaces.py), or torch.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal, cast

import psutil

from green_code.energy.ledger import Ledger
from green_code.energy.rows import Row, new_id
from green_code.engine.holder import LoadedModel, ModelHolder
from green_code.engine.idle import CHECK_SECONDS, LEFT_SECONDS, MEASURE_SECONDS, IdleLadder
from green_code.engine.interfaces import DeviceProblem, LoadRuntime
from green_code.engine.ledger_rows import check_row, energy_message, ledger_row
from green_code.engine.peers import Peer
from green_code.engine.requests import REFUSAL_TEXTS, Job
from green_code.engine.shadow import Candidate
from green_code.link import messages
from green_code.link.messages import CompletionParams, CompletionResult, EngineStatus, State
from green_code.link.server import Connection
from green_code.problems import Problem

log = logging.getLogger(__name__)

ENERGY_SECONDS: Final = 1.0
"""Shortest time between two energy messages."""


class Service:
    """Implements `link.server.Handler`; lives on the event loop.

    Args:
        load: loads the runtime of a model's name.
        ledger: stores a row per completion.
        stop: ends the process; called once.
        clock: monotonic seconds; replaced in tests.
    """

    def __init__(
        self, load: LoadRuntime, ledger: Ledger, stop: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._stop = stop
        self._holder = ModelHolder(load, self._model_status, clock)
        self._clock = clock
        self._ladder = IdleLadder(clock)
        self._last_peer_left_at: float | None = None
        self._peers: dict[Connection, Peer] = {}
        self._newest: dict[str, Job] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._computing = 0
        self._check: Job | None = None
        self._checking: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._status = messages.StatusMessage(
            state="ready", message="The model loads at the first request", progress=None, reason=None
        )
        self._energy_timer: asyncio.TimerHandle | None = None
        self._energy_sent_at = float("-inf")
        self._sending_energy: asyncio.Task[None] | None = None
        self._ledger_problem: str | None = None
        # Lasting problems that do not prevent completions: a message and its reason, by what has the problem.
        self._warnings: dict[Literal["ledger", "model"], tuple[str, str]] = {}

    # --- link.server.Handler ------------------------------------------------------------------------------
    def hello(self, connection: Connection, params: dict[str, Any]) -> str:
        """A peer connected; with a model's name, begin to load it."""
        self._peers[connection] = Peer()
        self._last_peer_left_at = None
        self._ladder.touch()
        if (model := params.get("model")) is not None:
            self._holder.begin(model)
        return self._status["state"]

    async def request(self, connection: Connection, request_id: int, method: str, params: dict[str, Any]) -> Any:
        """Answer one of the methods of docs/protocol.md."""
        self._ladder.touch()
        if method == messages.COMPLETE:
            return await self._complete(connection, request_id, cast(CompletionParams, params))
        if method == messages.STATUS:
            return self.status()
        if method == messages.REPORT:
            return await asyncio.to_thread(self._ledger.report)
        if method == messages.SHUTDOWN:
            log.info("shutdown requested")
            asyncio.get_running_loop().call_soon(self._stop)
            return {}
        raise Problem("bad_request", f"Bad request: {method} is a notification.")

    def notification(self, connection: Connection, method: str, params: dict[str, Any]) -> None:
        """`cancel`, `shown`, `accepted` and `retained`."""
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
                self._schedule_energy()
        elif method == messages.ACCEPTED:
            row_id, characters = params["id"], params.get("characters")
            self._ledger.accept(row_id, characters)
            if (row := peer.rows.get(row_id)) is not None:
                peer.change(row, row.with_accepted(characters))
                self._schedule_energy()
        elif method == messages.RETAINED:
            row_id = params["id"]
            self._ledger.retain(row_id)
            if (row := peer.rows.get(row_id)) is not None and row.accepted:
                peer.change(row, replace(row, retained=1))
                self._schedule_energy()
        else:
            raise Problem("bad_request", f"Bad request: {method} is a request, which has an id.")

    def disconnected(self, connection: Connection) -> None:
        """A peer disconnected: cancel its requests."""
        if (peer := self._peers.pop(connection, None)) is None:
            return
        for job in tuple(peer.jobs.values()):
            job.refuse("cancelled")
        if not self._peers:
            self._last_peer_left_at = self._clock()

    # --- completions --------------------------------------------------------------------------------------
    async def _complete(self, connection: Connection, request_id: int, params: CompletionParams) -> CompletionResult:
        job = Job(connection, params)
        if (peer := self._peers.get(connection)) is None:
            raise Problem("cancelled", REFUSAL_TEXTS["cancelled"])
        if self._check is not None:
            self._check.refuse("superseded")
        session = job.params["session"]
        if (older := self._newest.get(session)) is not None:
            older.refuse("superseded")
        self._newest[session] = job
        peer.jobs[request_id] = job
        task = asyncio.get_running_loop().create_task(self._run(job))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        try:
            return await job.answer
        finally:
            peer.jobs.pop(request_id, None)
            if self._newest.get(session) is job:
                del self._newest[session]

    async def _run(self, job: Job) -> None:
        """Compute a job and answer it. A job that is refused while it runs is recorded too: it has cost joules."""
        try:
            loaded, result = await self._computed(job)
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

    async def _computed(self, job: Job) -> tuple[LoadedModel, CompletionResult | None]:
        """The job's result and the model that gave it; once more on the processor where a device fails."""
        while True:
            loaded = await self._holder.ready(job.params["model"], job.params["device"])
            if job.answer.done():
                return loaded, None
            self._set_computing(+1)
            try:
                return loaded, await self._holder.compute(loaded, job)
            except DeviceProblem as problem:
                self._holder.device_failed(loaded, problem)
            finally:
                self._set_computing(-1)

    def _record(self, job: Job, result: CompletionResult) -> None:
        result["id"] = new_id()
        reason = job.refusal or result["reason"]
        row = ledger_row(job.params, result, reason)
        peer = self._store(row, job.owner)
        if peer is not None and reason not in REFUSAL_TEXTS:
            peer.last = (job.params, result)
            peer.last_exits = result["exits"] or peer.last_exits

    def _store(self, row: Row, owner: object) -> Peer | None:
        """Add a row to the ledger and to its peer's totals; returns the peer if it is still connected."""
        self._ledger.record(row)
        peer = self._peers.get(owner) if isinstance(owner, Connection) else None
        if peer is not None:
            peer.add(row)
        self._schedule_energy()
        return peer

    # --- shadow checks ------------------------------------------------------------------------------------
    def _begin_check(self) -> None:
        """Repeat a completion with full depth's tokens, if one is due; the next request interrupts it."""
        loaded = self._holder.loaded
        if loaded is None or self._check is not None:
            return
        if (candidate := loaded.shadow.due(self._ladder.idle_seconds)) is None:
            return
        self._check = Job(candidate.owner, candidate.at_full_depth())
        self._checking = asyncio.get_running_loop().create_task(self._run_check(loaded, candidate, self._check))

    async def _run_check(self, loaded: LoadedModel, candidate: Candidate, job: Job) -> None:
        try:
            result = None if loaded.closed else await self._holder.compute(loaded, job)
        except Exception:
            log.exception("a shadow check failed")
            return
        finally:
            self._check = None
        if result is None:
            return
        loaded.shadow.spent(result["energy_joules"])
        if result["reason"] not in REFUSAL_TEXTS:
            loaded.shadow.checked(candidate, result)
        result["id"] = new_id()
        self._store(check_row(job.params, result), job.owner)

    # --- costs --------------------------------------------------------------------------------------------
    def _begin_measuring(self) -> None:
        """Measure what work costs, if that is assumed and the machine is idle; the next request interrupts it."""
        loaded = self._holder.loaded
        if loaded is None or not loaded.measurable or self._ladder.idle_seconds < MEASURE_SECONDS:
            return
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.get_running_loop().create_task(self._measure(loaded))

    async def _measure(self, loaded: LoadedModel) -> None:
        while loaded.measurable and not (self._work or self._holder.on_battery()):
            await self._holder.measure(loaded, lambda: bool(self._work))
        if not loaded.runtime.costs_assumed:
            log.info("measured what work costs: %s", loaded.runtime.energy_source)
            self._send_status()

    # --- status and energy --------------------------------------------------------------------------------
    def status(self) -> EngineStatus:
        """The whole status."""
        loaded = self._holder.loaded
        return EngineStatus(
            **self._status,
            model=loaded.name if loaded else None,
            layers_total=loaded.runtime.layers_total if loaded else 0,
            exits=list(loaded.runtime.exits) if loaded else [],
            resident_bytes=_resident_bytes(),
            agreement=loaded.shadow.agreement if loaded else None,
            costs_assumed=loaded is not None and loaded.runtime.costs_assumed,
            device=loaded.runtime.device if loaded else "",
            reads_snippets=loaded is not None and loaded.runtime.reads_snippets,
        )

    def _set_computing(self, change: int) -> None:
        self._computing += change
        if self._holder.loading:
            return  # the status shows the progress of loading another model
        if self._computing == 0:
            self._ladder.touch()
            self._set_serving("ready")
        elif change > 0 and self._computing == 1:
            self._set_serving("busy")

    def _set_serving(self, state: Literal["ready", "busy"]) -> None:
        """Set the status to `ready` or `busy`, with the message of a lasting problem if there is one."""
        usual = "Ready" if state == "ready" else "Completing"
        message, reason = next(iter(self._warnings.values()), (usual, None))
        self._set_status(state, message, None, reason)

    def _model_status(self, state: State, message: str, progress: float | None, reason: str | None) -> None:
        if state == "ready":
            self._warnings.pop("model", None)
            if reason:  # a changed bundle is refused, and the old one stays; or the processor serves for a device
                self._warnings["model"] = message, reason
        self._set_status(state, message, progress, reason)

    def _set_status(self, state: State, message: str, progress: float | None, reason: str | None) -> None:
        old = self._status
        new = messages.StatusMessage(state=state, message=message, progress=progress, reason=reason)
        if new == old:
            return
        if (old["state"], old["message"]) == (state, message) and progress is not None:
            moved = old["progress"] is None or abs(progress - old["progress"]) >= 0.01 or progress >= 1
            if not moved:
                return
        if old["state"] != state and state not in ("busy", "ready"):
            log.info("%s: %s", state, message)
        self._status = new
        self._send_status()

    def _send_status(self) -> None:
        whole = self.status()
        for peer in tuple(self._peers):
            peer.notify(messages.STATUS, whole)

    def _schedule_energy(self) -> None:
        if self._energy_timer is None:
            loop = asyncio.get_running_loop()
            wait_seconds = max(0.0, self._energy_sent_at + ENERGY_SECONDS - loop.time())
            self._energy_timer = loop.call_later(wait_seconds, self._begin_energy)

    def _begin_energy(self) -> None:
        self._energy_timer = None
        self._energy_sent_at = asyncio.get_running_loop().time()
        self._sending_energy = asyncio.get_running_loop().create_task(self._send_energy())

    async def _send_energy(self) -> None:
        today = await asyncio.to_thread(self._ledger.today)
        self._check_ledger()
        agreement = self._holder.loaded.shadow.agreement if self._holder.loaded else None
        for connection, peer in tuple(self._peers.items()):
            if peer.last is not None:
                message = energy_message(today, peer.tally, agreement, *peer.last, peer.last_exits)
                connection.notify(messages.ENERGY, message)

    def _check_ledger(self) -> None:
        """Say once what is wrong with the ledger, and go on saying it while its rows cannot be written."""
        if self._ledger.problem == self._ledger_problem:
            return
        self._ledger_problem = problem = self._ledger.problem
        self._warnings.pop("ledger", None)
        if problem and self._ledger.in_memory:
            self._warnings["ledger"] = problem, "cache_unwritable"
        if problem:
            self._set_status(self._status["state"], problem, None, "cache_unwritable")
        elif self._status["state"] == "ready":
            self._set_serving("ready")

    def bundles_changed(self, names: set[str]) -> None:
        """Bundles of these names changed on disk."""
        self._holder.bundles_changed(names)

    # --- life ---------------------------------------------------------------------------------------------
    async def watch_idleness(self) -> None:
        """Check for idleness until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self.idle_tick()

    def idle_tick(self) -> None:
        """Take the steps of the idle ladder that are due; end if the last peer disconnected some time ago."""
        if self._work or self._holder.loading:
            self._ladder.touch()
            return
        if self._last_peer_left_at is not None and self._clock() - self._last_peer_left_at >= LEFT_SECONDS:
            log.info("idle: the last peer has disconnected")
            self._stop()
            return
        self._check_ledger()
        self._begin_check()
        self._begin_measuring()
        for step in self._ladder.due():
            log.info("idle: %s", step)
            if step == "trim":
                self._holder.trim()
            elif step == "release":
                self._holder.release()
                self._set_status("ready", "Idle; the model was released and loads at the next request", None, None)
            else:
                self._stop()

    def close(self) -> None:
        """Refuse all waiting requests, and release the model."""
        for peer in self._peers.values():
            for job in tuple(peer.jobs.values()):
                job.refuse("engine_lost")
        if self._check is not None:
            self._check.refuse("engine_lost")
        if self._energy_timer is not None:
            self._energy_timer.cancel()
        self._holder.stop()


def _resident_bytes() -> int | None:
    try:
        return int(psutil.Process(os.getpid()).memory_info().rss)
    except psutil.Error:
        return None
