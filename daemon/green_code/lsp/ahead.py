"""The next suggestion: how a suggestion that was cut goes on is computed while it is being read.

Only where the engine was sure of what it gave, the suggestion is still there after a moment, and the machine has mains power.
There is one at a time. It ends as soon as the text goes on otherwise.
Must not know: documents, or when a suggestion agrees with the text.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from green_code.link.messages import CompletionParams, CompletionResult
from green_code.lsp.type_through import same_request
from green_code.problems import Problem, retrieve_exception

log = logging.getLogger(__name__)

READ_SECONDS: Final = 0.3
"""A suggestion that is still there after so long is being read."""
CONFIDENCE: Final = 0.8
"""Least probability that the suggestion is right."""


class Ahead:
    """The one suggestion of a window that is computed ahead.

    Args:
        complete: asks the engine.
    """

    def __init__(
        self, complete: Callable[[CompletionParams], Awaitable[CompletionResult]], on_battery: Callable[[], bool]
    ) -> None:
        self._complete = complete
        self._on_battery = on_battery
        self._params: CompletionParams | None = None
        self._task: asyncio.Task[CompletionResult | None] | None = None
        self._asking = False

    def shown(
        self,
        params: CompletionParams,
        result: CompletionResult,
        place: Callable[[], list[float]],
        is_visible: Callable[[], bool],
        keep: Callable[[CompletionParams, CompletionResult], None],
    ) -> None:
        """A suggestion is shown: ask for its continuation in a moment, if it is worth it.

        Args:
            place: the features of the place behind the suggestion.
            is_visible: whether the suggestion is still there.
            keep: gets the continuation's request and result, if it has text.
        """
        following: CompletionParams = {**params, "prefix": params["prefix"] + result["text"]}
        if self._params is not None and same_request(following, self._params):
            return  # the rest of a suggestion that is typed along
        self.cancel()
        if result["reason"] != "unsure" or result["confidence"] < CONFIDENCE:
            return
        self._params = following = {**following, "place": place()}
        self._task = asyncio.get_running_loop().create_task(self._ask(following, is_visible, keep))
        self._task.add_done_callback(retrieve_exception)

    async def answer(self, params: CompletionParams) -> CompletionResult | None:
        """The continuation, if this request is for it; waits while it is being computed."""
        task = self._task
        if task is None or not self._asking or self._params is None or not same_request(params, self._params):
            return None
        await asyncio.wait({task})  # a request that is cancelled leaves it running
        return None if task.cancelled() else task.result()

    def cancel(self) -> None:
        """The text went on otherwise."""
        if self._task is not None:
            self._task.cancel()
        self._task, self._params, self._asking = None, None, False

    async def _ask(
        self,
        params: CompletionParams,
        is_visible: Callable[[], bool],
        keep: Callable[[CompletionParams, CompletionResult], None],
    ) -> CompletionResult | None:
        await asyncio.sleep(READ_SECONDS)
        if not is_visible() or self._on_battery():
            return None
        self._asking = True
        try:
            result = await self._complete(params)
        except Problem as problem:
            log.info("no suggestion was made ahead: %s", problem.reason)
            return None
        if result["text"]:
            keep(params, result)
        return result
