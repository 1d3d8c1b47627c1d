"""The engine's status, and what it tells its peers unasked: a model's status on each change, energy at most once a second, and warnings of the ledger.

Energy goes to each peer that has completed something, with that peer's totals and last completion.
Must not know: requests, or how a model computes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Final

import psutil

from green_code.energy.ledger import Ledger
from green_code.engine.holder import ModelHolder
from green_code.engine.ledger_rows import energy_message
from green_code.engine.model_status import UNLOADED
from green_code.engine.models import Models
from green_code.engine.peers import Peer
from green_code.link import messages
from green_code.link.messages import EngineStatus
from green_code.link.server import Connection

ENERGY_SECONDS: Final = 1.0
"""Shortest time between two energy messages."""


class Notifications:
    """
    Args:
        peers: that are connected.
    """

    def __init__(self, models: Models, ledger: Ledger, peers: Mapping[Connection, Peer]) -> None:
        self._models, self._ledger, self._peers = models, ledger, peers
        self._energy_timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._energy_sent_at = float("-inf")
        self._sending_energy: asyncio.Task[None] | None = None
        self._ledger_problem: str | None = None
        self._said_rows_wait = False  # in a model's status since the ledger was checked
        self._untold: str | None = None  # what no peer has been told of it yet

    def status(self, connection: Connection | None = None) -> EngineStatus:
        """The whole status, as a peer sees it: that of its model; for others, of the model that was asked for last."""
        return self._status_of(self._models.of(connection))

    def _status_of(self, holder: ModelHolder | None) -> EngineStatus:
        message = holder.status.message if holder is not None else UNLOADED
        notice = self._ledger.problem if self._ledger.in_memory else None
        if notice and message["reason"] is None and message["state"] in ("ready", "busy"):
            message = {**message, "message": notice, "reason": "cache_unwritable"}
        loaded = holder.loaded if holder is not None else None
        return EngineStatus(
            **message,
            model=loaded.name if loaded else None,
            layers_total=loaded.runtime.layers_total if loaded else 0,
            exits=list(loaded.runtime.exits) if loaded else [],
            resident_bytes=_resident_bytes(),
            agreement=loaded.shadow.agreement if loaded else None,
            costs_assumed=loaded is not None and loaded.runtime.costs_assumed,
            device=loaded.runtime.device if loaded else "",
            reads_snippets=loaded is not None and loaded.runtime.reads_snippets,
        )

    def send_status(self, holder: ModelHolder) -> None:
        """To the peers that see this model's."""
        self._said_rows_wait |= self._ledger.in_memory
        whole = self._status_of(holder)
        for peer in tuple(self._peers):
            if self._models.of(peer) is holder:
                peer.notify(messages.STATUS, whole)

    def schedule_energy(self) -> None:
        """Totals have changed: send them soon."""
        if self._energy_timer is None and not self._closed:
            loop = asyncio.get_running_loop()
            wait_seconds = max(0.0, self._energy_sent_at + ENERGY_SECONDS - loop.time())
            self._energy_timer = loop.call_later(wait_seconds, self._begin_energy)

    def _begin_energy(self) -> None:
        self._energy_timer = None
        self._energy_sent_at = asyncio.get_running_loop().time()
        self._sending_energy = asyncio.get_running_loop().create_task(self._send_energy())

    async def _send_energy(self) -> None:
        # Before today's, so that no session has what today's totals lack.
        counted = [
            (connection, peer.tally.totals(), peer.last) for connection, peer in self._peers.items() if peer.last
        ]
        today = await asyncio.to_thread(self._ledger.today)
        if self._closed:
            return
        self.check_ledger()
        for connection, session, last in counted:
            if connection in self._peers:
                agreement = self.status(connection)["agreement"]
                connection.notify(messages.ENERGY, energy_message(today, session, agreement, last))

    def check_ledger(self) -> None:
        """Tell the peers once what is wrong with the ledger, or the next peer if there is none. The status says it while rows wait."""
        problem = self._ledger.problem
        if is_new := problem != self._ledger_problem:
            self._ledger_problem = self._untold = problem
        if is_new or (self._said_rows_wait and not self._ledger.in_memory):
            self._said_rows_wait = False
            for peer in tuple(self._peers):
                peer.notify(messages.STATUS, self.status(peer))
        if self._untold is not None and self._peers:
            warning = messages.WarningMessage(message=self._untold)
            for peer in tuple(self._peers):
                peer.notify(messages.WARNING, warning)
            self._untold = None

    def close(self) -> None:
        """Send no more energy, whatever is still counted."""
        self._closed = True
        if self._energy_timer is not None:
            self._energy_timer.cancel()


def _resident_bytes() -> int | None:
    try:
        return int(psutil.Process(os.getpid()).memory_info().rss)
    except psutil.Error:
        return None
