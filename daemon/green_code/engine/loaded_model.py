"""A loaded model with its sessions. Their memory is bounded: by number, by bytes, and by the life of the windows that they belong to.

Must not know: how a model is loaded, or what else is.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from green_code.engine.interfaces import REMOTE, Runtime, Session
from green_code.engine.requests import Job, Wanted, threshold_in_force
from green_code.engine.shadow import ShadowChecks
from green_code.link.messages import CompletionResult
from green_code.memory import give_back_memory
from green_code.problems import Problem

log = logging.getLogger(__name__)

SESSIONS_AT_MOST: Final = 10
SESSION_BYTES: Final = 256 << 20
"""Of the caches of all sessions of a model; the newest session stays in any case."""


def _is_full(error: Exception) -> bool:
    """Whether memory is lacking; torch has a type of its own for that, but not on each device."""
    return isinstance(error, MemoryError) or "out of memory" in str(error)


class LoadedModel:
    """A runtime with its shadow checks and its sessions; only the compute thread uses the sessions."""

    def __init__(
        self, wanted: Wanted, runtime: Runtime, shadow: ShadowChecks, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.wanted, self.loaded_at = wanted, clock()
        self.runtime = runtime
        self.shadow = shadow
        self.closed = self._failed_to_measure = False
        self._sessions: OrderedDict[str, tuple[object, Session]] = (
            OrderedDict()
        )  # with the connection that used it last

    @property
    def name(self) -> str:
        return self.wanted.model

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
        held = self._sessions.pop(key) if key in self._sessions else None
        session = held[1] if held is not None else self.runtime.new_session()
        try:
            result = self._result(session, job)
        except Problem:
            raise
        except Exception as error:
            if not self._on_gpu:
                raise
            from green_code.engine.devices import device_problem  # NumPy, which process.import_loader imports first

            raise device_problem(self.runtime.device, error) from error
        self._sessions[key] = job.owner, session  # not after an exception: the session's state is then unknown
        while len(self._sessions) > 1 and self._holds_too_much():
            _, (_, oldest) = self._sessions.popitem(last=False)
            oldest.trim()
        return result

    @property
    def _on_gpu(self) -> bool:
        return self.runtime.device not in ("cpu", REMOTE)

    def _result(self, session: Session, job: Job) -> CompletionResult:
        """A device whose memory is full gets a second try, without what other documents keep there."""
        try:
            return session.complete(job.params, lambda: job.refusal)
        except (MemoryError, RuntimeError) as error:
            if not (self._on_gpu and self._sessions and _is_full(error)):
                raise
            log.warning("%s is full (%s): other documents lose their caches", self.runtime.device, error)
        session.trim()  # here the exception is gone, whose frames hold the cache
        self.trim()
        return session.complete(job.params, lambda: job.refusal)

    def _holds_too_much(self) -> bool:
        held = sum(session.cache_bytes for _, session in self._sessions.values())
        return len(self._sessions) > SESSIONS_AT_MOST or held > SESSION_BYTES

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

    def forget(self, owner: object) -> None:
        """Drop the sessions of a connection that has ended, on the compute thread."""
        gone = [key for key, (used_by, _) in self._sessions.items() if used_by is owner]
        for key in gone:
            self._sessions.pop(key)[1].trim()
        if gone:
            give_back_memory()

    def trim(self) -> None:
        """Drop every session's caches, on the compute thread."""
        for _, session in self._sessions.values():
            session.trim()
        self._sessions.clear()
        give_back_memory()

    def close(self) -> None:
        """Free the memory, on the compute thread."""
        self._sessions.clear()
        self.runtime.close()
