"""What the engine computes while there is no request: shadow checks (shadow.py), and measurements of costs that are assumed.

A request ends a check (`end_check`), and a measurement ends as soon as there is one.
Must not know: connections' messages, or how a model computes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Container

from green_code.energy.rows import Row, new_id
from green_code.engine.holder import ModelHolder
from green_code.engine.idle import MEASURE_SECONDS, IdleLadder
from green_code.engine.ledger_rows import check_row
from green_code.engine.loaded_model import LoadedModel
from green_code.engine.models import Models
from green_code.engine.requests import REFUSAL_TEXTS, Job
from green_code.engine.shadow import Candidate

log = logging.getLogger(__name__)


class IdleWork:
    """
    Args:
        peers: that are connected; only their completions are checked.
        requests: that run; nothing is measured beside them.
        store: books a row of an owner.
        measured: called when a model's costs have been measured.
    """

    def __init__(
        self,
        models: Models,
        ladder: IdleLadder,
        peers: Container[object],
        requests: Collection[object],
        store: Callable[[Row, object], object],
        measured: Callable[[ModelHolder], None],
    ) -> None:
        self._models, self._ladder = models, ladder
        self._peers, self._requests = peers, requests
        self._store, self._measured = store, measured
        self._check: Job | None = None
        self._checking: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None

    def begin(self, holder: ModelHolder, loaded: LoadedModel) -> None:
        """Begin what is due."""
        self._begin_check(holder, loaded)
        self._begin_measuring(holder, loaded)

    def end_check(self, reason: str) -> None:
        """End the shadow check that runs, if one does. To be called when a request begins."""
        if self._check is not None:
            self._check.refuse(reason)

    def _begin_check(self, holder: ModelHolder, loaded: LoadedModel) -> None:
        """Repeat a completion with full depth's tokens, if one is due."""
        if self._check is not None or (candidate := loaded.shadow.due(self._ladder.idle_seconds)) is None:
            return
        if candidate.owner in self._peers:
            self._check = Job(candidate.owner, candidate.at_full_depth())
            check = self._run_check(holder, loaded, candidate, self._check)
            self._checking = asyncio.get_running_loop().create_task(check)

    async def _run_check(self, holder: ModelHolder, loaded: LoadedModel, candidate: Candidate, job: Job) -> None:
        try:
            result = None if loaded.closed else await holder.compute(loaded, job)
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

    def _begin_measuring(self, holder: ModelHolder, loaded: LoadedModel) -> None:
        """Measure what work costs, if that is assumed and the machine is idle."""
        if not loaded.measurable or self._ladder.idle_seconds < MEASURE_SECONDS:
            return
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.get_running_loop().create_task(self._measure(holder, loaded))

    async def _measure(self, holder: ModelHolder, loaded: LoadedModel) -> None:
        while loaded.measurable and not (self._requests or self._models.shared.on_battery()):
            await holder.measure(loaded, lambda: bool(self._requests))
        if not loaded.runtime.costs_assumed:
            log.info("measured what work costs: %s", loaded.runtime.energy_source)
            self._measured(holder)
