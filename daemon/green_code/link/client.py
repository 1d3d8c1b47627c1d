"""The client's end of the link: one connection to an engine, for the front and for the command line.

A request ends with a result or a Problem. If the engine ends, every pending request fails with `engine_lost`; if it answers no ping
meanwhile, or not the request in time, with `engine_hanging`. Cancelling the task that awaits a request cancels the request in the engine.
Must not know: how engines are found or started (discovery.py), or what a completion is.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from green_code import __version__
from green_code.link import framing, messages, transport
from green_code.problems import Problem

log = logging.getLogger(__name__)

READ_BYTES = 1 << 16
HELLO_SECONDS = 15.0
"""An engine answers a hello at once, also while it computes or loads. Reading a tokenizer holds the interpreter for half a second of
processor time, which is several on a machine under load; after this, the engine is suspended or blocked."""

PING_SECONDS = 10.0
"""While a request waits, the engine is asked for its status that often, and has as long to answer."""
ANSWER_SECONDS = 120.0
"""The longest that a request may wait while no model loads; a completion's own budget is some seconds."""

OnNotification = Callable[[str, dict[str, Any]], None]
OnLost = Callable[[], None]

LOST_MESSAGE = "The engine ended during a request. The next request restarts it; see the engine's log for the cause."
HANGING_MESSAGE = (
    "The engine runs but did not answer within {:g} s. "
    "Run Green Code: Restart Engine (`green-code engine --stop`), or end that process by hand."
)


def ignore_notification(method: str, params: dict[str, Any]) -> None:
    """The default of `on_notification`."""


@dataclass
class _Request:
    answer: asyncio.Future[Any]
    waited_seconds: float = 0.0  # while no model loaded


class EngineClient:
    """An open connection after its hello; made by `open_client`."""

    def __init__(self, streams: transport.Streams, on_notification: OnNotification, on_lost: OnLost) -> None:
        self._reader, self._writer = streams
        self._on_notification = on_notification
        self._on_lost = on_lost
        self._ids = itertools.count(1)
        self._pending: dict[int, _Request] = {}
        self._reading = asyncio.get_running_loop().create_task(self._read())
        self._watching: asyncio.Task[None] | None = None
        self.alive = True
        self.hangs = False
        """Whether the engine has not answered a ping."""
        self.engine_pid = 0
        self._greeted = False

    async def hello(self, asks: messages.Hello) -> None:
        """Send the hello.

        Raises:
            Problem: `other_version` if refused, `engine_hanging` if not answered.
        """
        params = {"protocol": messages.PROTOCOL, "version": __version__, **asks}
        try:
            answer = await asyncio.wait_for(self.request(messages.HELLO, params), HELLO_SECONDS)
        except asyncio.TimeoutError as error:
            raise Problem("engine_hanging", HANGING_MESSAGE.format(HELLO_SECONDS)) from error
        self.engine_pid = int(answer["pid"])
        self._greeted = True

    async def request(self, method: str, params: Any) -> Any:
        """Send a request and wait for the result.

        Raises:
            Problem: with the engine's error code, `engine_lost`, or `engine_hanging`.
        """
        if not self.alive:
            raise Problem("engine_lost", LOST_MESSAGE)
        request_id = next(self._ids)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = _Request(future)
        if self._greeted and (self._watching is None or self._watching.done()):
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        try:
            self._writer.write(framing.encode({"id": request_id, "method": method, "params": params}))
            return await future
        except framing.FrameError as error:
            raise Problem("bad_request", f"The request cannot be sent: {error}.") from error
        except asyncio.CancelledError:
            self.notify(messages.CANCEL, {"id": request_id})
            raise
        finally:
            self._pending.pop(request_id, None)

    def notify(self, method: str, params: Any) -> None:
        """Send a notification; dropped if the engine has ended."""
        if self.alive:
            with contextlib.suppress(framing.FrameError):
                self._writer.write(framing.encode({"method": method, "params": params}))

    async def close(self) -> None:
        """Close the connection; the engine goes on."""
        if self._watching is not None:
            self._watching.cancel()
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        await transport.close(self._writer)

    async def _read(self) -> None:
        decoder = framing.Decoder()
        try:
            while data := await self._reader.read(READ_BYTES):
                for message in decoder.feed(data):
                    self._received(message)
        except framing.FrameError as error:
            log.error("the engine sent a bad frame: %s", error)
        except OSError as error:
            log.info("connection to the engine lost: %s", error)
        finally:
            self.alive = False
            self._writer.close()
            for request_id in self._pending:
                self._fail(request_id, "engine_lost", LOST_MESSAGE)
            if self._greeted:
                self._on_lost()

    async def _watch(self) -> None:
        """While requests wait: fail them if the engine answers no ping, and each that waits for too long."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            if not self._pending or not self.alive:
                return
            try:
                status = await asyncio.wait_for(self.request(messages.STATUS, {}), PING_SECONDS)
            except asyncio.TimeoutError:
                self.hangs = True
                for request_id in self._pending:
                    self._fail(request_id, "engine_hanging", HANGING_MESSAGE.format(2 * PING_SECONDS))
                return
            except Problem:  # it has ended
                return
            for request_id, request in self._pending.items():
                request.waited_seconds = 0.0 if status["state"] == "loading" else request.waited_seconds + PING_SECONDS
                if request.waited_seconds >= ANSWER_SECONDS:
                    self._fail(request_id, "engine_hanging", HANGING_MESSAGE.format(request.waited_seconds))
                    self.notify(messages.CANCEL, {"id": request_id})

    def _fail(self, request_id: int, reason: str, message: str) -> None:
        if not (answer := self._pending[request_id].answer).done():
            answer.set_exception(Problem(reason, message))

    def _received(self, message: framing.Message) -> None:
        if (method := message.get("method")) is not None:
            params = message.get("params")
            self._on_notification(str(method), params if isinstance(params, dict) else {})
            return
        request = self._pending.get(message.get("id", 0))
        if request is None or (future := request.answer).done():
            return  # an answer to a request that was cancelled here
        if (error := message.get("error")) is not None:
            future.set_exception(Problem(str(error.get("code")), str(error.get("message"))))
        else:
            future.set_result(message.get("result"))


async def open_client(
    address: str,
    *,
    asks: messages.Hello | None = None,
    on_notification: OnNotification = ignore_notification,
    on_lost: OnLost = lambda: None,
) -> EngineClient:
    """Connect and send the hello.

    Raises:
        OSError: no process of this user listens there.
        Problem: the engine has another version, does not answer, or ended meanwhile.
    """
    client = EngineClient(await transport.connect(address), on_notification, on_lost)
    try:
        await client.hello(asks or {})
    except BaseException:
        await client.close()
        raise
    return client
