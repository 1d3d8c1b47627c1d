"""Watches the folder of bundles, and reports changed bundles when their files have not changed for a moment.

Reading a bundle causes file events too; only changes count, or loading would never end. A bundle that was removed is not
reported, because it may be about to be replaced.
Must not know: what a bundle is, or what loads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

log = logging.getLogger(__name__)

QUIET_SECONDS: Final = 1.0
"""A bundle's files are copied one by one; it is reported when none has changed for this long."""

_CHANGES: Final = frozenset({"created", "modified", "moved", "deleted"})


class BundleWatcher(FileSystemEventHandler):
    """Calls `on_change` on the event loop with the names of the bundles that changed."""

    def __init__(
        self, folder: Path, on_change: Callable[[set[str]], None], quiet_seconds: float = QUIET_SECONDS
    ) -> None:
        self._folder = folder.resolve()
        self._on_change = on_change
        self._quiet_seconds = quiet_seconds
        self._loop = asyncio.get_running_loop()
        self._changed: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._observer: Any = None

    def start(self) -> None:
        """Begin to watch. Creates a missing folder, so that its first bundle is noticed; a folder that cannot be watched is
        only logged."""
        observer = Observer()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            observer.schedule(self, str(self._folder), recursive=True)
            observer.start()
        except OSError as error:
            log.warning("changed bundles in %s will not be noticed: %s", self._folder, error)
            return
        self._observer = observer

    def stop(self) -> None:
        """Stop watching."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
        if self._timer is not None:
            self._timer.cancel()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called on watchdog's thread."""
        if event.event_type not in _CHANGES:
            return
        names: set[str] = set()
        for path in (event.src_path, getattr(event, "dest_path", "")):
            with contextlib.suppress(ValueError):
                parts = Path(os.fsdecode(path)).relative_to(self._folder).parts
                names.update(parts[:1])
        if names:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._add, names)

    def _add(self, names: set[str]) -> None:
        self._changed |= names
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._quiet_seconds, self._report)

    def _report(self) -> None:
        changed, self._changed, self._timer = self._changed, set(), None
        if present := {name for name in changed if (self._folder / name).exists()}:
            self._on_change(present)
