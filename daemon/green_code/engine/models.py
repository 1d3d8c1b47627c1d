"""The engine's models: which are loaded, which windows use them, and who gives way where memory is scarce.

Windows with different models share the engine. Their models stay loaded side by side as long as memory has room, and what serves goes on
until another model has been found, converted, and is about to be opened. Only then, if memory lacks room, do models give way: first
those that no window uses, then those that were asked for earlier, by opening a window or by selecting a model. A window's typing never takes
the memory of a model that was asked for later; it is told which window has it. So two windows do not evict each other in turns.
Must not know: messages, the ledger, or torch.
"""

from __future__ import annotations

import itertools
import logging
from asyncio import wrap_future
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from green_code.battery import Battery
from green_code.endpoints import is_endpoint, parse_endpoint
from green_code.engine.device_losses import DeviceLosses
from green_code.engine.holder import ModelHolder, Shared
from green_code.engine.idle import LEFT_SECONDS
from green_code.engine.interfaces import LoadRuntime
from green_code.engine.loaded_model import LoadedModel
from green_code.engine.requests import Wanted
from green_code.memory import available_memory
from green_code.problems import Problem

log = logging.getLogger(__name__)

LOADS_AT_ONCE: Final = 4
"""Further models wait until one of these is loaded, or has made no progress for so long that nobody waits for it any more."""
STALLED_AT_MOST: Final = 12
"""Loads without progress go on, and each keeps a thread and perhaps a process: beyond these, no further model is loaded."""
SPARE_BYTES: Final = 256 << 20
"""Left free beside the weights, for sessions and other programs."""


class Models:
    """Its methods are called on the event loop. A user is whoever asks for a model: a connection."""

    def __init__(
        self,
        load: LoadRuntime,
        losses: DeviceLosses,
        on_status: Callable[[ModelHolder], None],
        clock: Callable[[], float],
        on_battery: Callable[[], bool] | None = None,
        on_released: Callable[[LoadedModel], None] = lambda _: None,
    ) -> None:
        compute = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        self.shared = Shared(
            load, compute, losses, clock, on_battery or Battery(), self._make_room, on_status, self._loaded, on_released
        )
        self._holders: list[ModelHolder] = []
        self._order = itertools.count()

    def __iter__(self) -> Iterator[ModelHolder]:
        return iter(tuple(self._holders))

    @property
    def loaded(self) -> list[LoadedModel]:
        """Those that are resident."""
        return [holder.loaded for holder in self._holders if holder.loaded is not None]

    def of(self, user: object) -> ModelHolder | None:
        """The model that a user asked for last; without one, the model that any user asked for last."""
        own = (holder for holder in self._holders if user in holder.users)
        return next(own, None) or max(self._holders, key=lambda holder: holder.asked, default=None)

    def use(self, user: object, window: str, wanted: Wanted) -> ModelHolder:
        """The model that a user asks for, which is the user's from now on.

        Args:
            window: the user's name, for other users.
        Raises:
            Problem: too many models are being loaded.
        """
        serving = [holder for holder in self._holders if holder.serves(wanted)]
        holder = next((one for one in serving if one.loaded is not None), next(iter(serving), None))
        if holder is None:
            self._check_loads()
            holder = ModelHolder(wanted, self.shared)
            self._holders.append(holder)
        if user not in holder.users:
            self._move(user)
            holder.users[user] = window
            holder.asked = next(self._order)
            self._holders = [other for other in self._holders if not other.is_spent]
        return holder

    def _check_loads(self) -> None:
        """Raises Problem if too many models are being loaded."""
        stalled = sum(holder.stalled for holder in self._holders)
        if stalled >= STALLED_AT_MOST:
            raise Problem(
                "engine_starting",
                f"Loading {stalled} other models makes no progress. Check the drives that they are on; "
                "Green Code: Restart Engine gives them up.",
            )
        if sum(holder.loading for holder in self._holders) - stalled >= LOADS_AT_ONCE:
            raise Problem("engine_starting", f"The engine loads {LOADS_AT_ONCE} other models; try again in a moment.")

    def leave(self, user: object) -> None:
        """A user is gone: drop its sessions. Its model stays for a while."""
        self._move(user)
        for holder in self._holders:
            holder.forget(user)

    def _move(self, user: object) -> None:
        for holder in self._holders:
            holder.leave(user)

    def release_unused(self, seconds: float = LEFT_SECONDS) -> None:
        """Release the models that nobody has used for so long."""
        for holder in self._holders:
            if holder.loaded is not None and holder.unused_seconds >= seconds:
                log.info("nobody uses %s any more", holder.name)
                holder.rest()

    def stop(self) -> None:
        """Release all models and accept no more jobs; a running one ends by itself."""
        for holder in self._holders:
            holder.release()
        self.shared.compute.shutdown(wait=False)

    def bundles_changed(self, names: set[str]) -> None:
        """Bundles of these names changed on disk."""
        for holder in self._holders:
            if Path(holder.name).name in names:
                holder.bundle_changed()

    def try_again(self, origin: str) -> None:
        """A server has another API key than before."""
        for holder in self._holders:
            if is_endpoint(holder.name) and parse_endpoint(holder.name).origin == origin:
                holder.try_again()

    def _loaded(self, new: ModelHolder) -> None:
        """A window that has selected another model needs the former one no more."""
        for holder in self._holders:
            if holder is not new and holder.unused_seconds >= 0:
                holder.rest()

    async def _make_room(self, new: ModelHolder, size: int) -> None:
        """Let other models give way until there is room for `size` bytes. If none is left, the system pages the weights.

        Raises:
            Problem: what was asked for later would have to give way.
        """
        new.bytes, needed = size, size + SPARE_BYTES
        others = sorted(
            (holder for holder in self._holders if holder is not new and holder.loaded is not None),
            key=lambda holder: (holder.is_used, holder.asked),
        )
        earlier = [holder for holder in others if not holder.is_used or holder.asked < new.asked]
        later = [holder for holder in others if holder not in earlier]
        if later and available_memory() + sum(holder.bytes for holder in earlier) < needed:
            raise _no_room(new, later[-1])
        for holder in earlier:
            if available_memory() >= needed:
                return
            log.info("%s gives way to %s", holder.name, new.name)
            released = holder.evict(_no_room(holder, new)) if holder.is_used else holder.release()
            if released is not None:
                await wrap_future(released)


def _no_room(model: ModelHolder, other: ModelHolder) -> Problem:
    window = next(reversed(other.users.values()), "")
    return Problem(
        "no_memory",
        f"There is not enough memory for {model.name} beside {other.name}, which {f'the window {window}' if window else 'another window'} "
        f"asked for later. Select {other.name} here as well, or close that window.",
    )
