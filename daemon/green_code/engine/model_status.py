"""The status of one model, as its windows see it: loading, ready, completing, or why not.

Must not know: models, connections.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from green_code.link.messages import State, StatusMessage

log = logging.getLogger(__name__)

UNLOADED: Final = StatusMessage(
    state="ready", message="The model loads at the first request", progress=None, reason=None
)


class ModelStatus:
    """`changed` is called when `message` has changed; a progress of less than a hundredth is no change."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.message = UNLOADED
        self._changed = changed
        self._computing = 0
        self._warning: tuple[str, str] | None = None  # of a lasting problem that does not prevent completions

    def set(self, state: State, message: str, progress: float | None, reason: str | None) -> None:
        """The model's state has changed. A reason with `ready` is a lasting problem: a refused bundle, or a device that failed."""
        if state == "ready":
            self._warning = (message, reason) if reason else None
        self._show(state, message, progress, reason)

    def computing(self, change: int) -> None:
        """So many more jobs compute, or fewer."""
        self._computing += change
        if self._computing == 0 and self.message["state"] == "busy":  # else it failed or was loaded meanwhile
            self._show_serving("ready", "Ready")
        elif change > 0 and self._computing == 1:
            self._show_serving("busy", "Completing")

    def _show_serving(self, state: State, usual: str) -> None:
        message, reason = self._warning or (usual, None)
        self._show(state, message, None, reason)

    def _show(self, state: State, message: str, progress: float | None, reason: str | None) -> None:
        old = self.message
        new = StatusMessage(state=state, message=message, progress=progress, reason=reason)
        if new == old:
            return
        if (old["state"], old["message"]) == (state, message) and progress is not None:
            moved = old["progress"] is None or abs(progress - old["progress"]) >= 0.01 or progress >= 1
            if not moved:
                return
        if old["state"] != state and state not in ("busy", "ready"):
            log.info("%s: %s", state, message)
        self.message = new
        self._changed()
