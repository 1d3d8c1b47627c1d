"""The status that a window shows: the engine's, or that suggestions are off or pause.

Must not know: the protocol, or what the engine does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from green_code.link.messages import State, StatusMessage
from green_code.lsp.explain import TEXTS
from green_code.settings import Settings

_WAITING: Final[tuple[State, ...]] = ("starting", "loading")


class WindowStatus:
    """The status of one window; it is sent when it changes.

    Args:
        send: shows a status. It is not called before `begin`: LSP forbids it until the editor is initialized.
        settings: those in force.
    """

    def __init__(
        self, send: Callable[[StatusMessage], None], on_battery: Callable[[], bool], settings: Callable[[], Settings]
    ) -> None:
        self._settings = settings
        self.engine = StatusMessage(state="starting", message="No engine yet", progress=None, reason=None)
        self._send = send
        self._on_battery = on_battery
        self._sent: StatusMessage | None = None
        self._begun = False

    @property
    def waits_for_engine(self) -> bool:
        """Whether the engine starts, or loads its model."""
        return self.engine["state"] in _WAITING

    def begin(self) -> None:
        """The editor accepts notifications."""
        self._begun = True
        self.update()

    def off(self) -> StatusMessage | None:
        """Why the window asks for nothing; None: it asks."""
        if not (settings := self._settings()).enabled:
            return _own("disabled", "disabled")
        if settings.pause_on_battery and self._on_battery():
            return _own("paused", "paused_on_battery")
        return None

    def update(self) -> None:
        """Send the status if it has changed."""
        if self._begun and (status := self.off() or self.engine) != self._sent:
            self._sent = status
            self._send(status)


def _own(state: State, reason: str) -> StatusMessage:
    return StatusMessage(state=state, message=TEXTS[reason].sentence, progress=None, reason=reason)
