"""The client's end of the link: one connection to an engine, for the front and for the command line.

A request ends with a result or a Problem; if the engine ends, every pending request fails with `engine_lost`. Cancelling
the task that awaits a request cancels the request in the engine.
Must not know: how engines are found or started (discovery.py), or what a completion is.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from typing import Any

from green_code import __version__
from green_code.link import framing, messages, transport
from green_code.problems import Problem

log = logging.getLogger(__name__)

READ_BYTES = 1 << 16
HELLO_SECONDS = 5.0
"""An engine answers a hello at once, also while it computes; otherwise it is suspended or blocked."""

OnNotification = Callable[[str, dict[str, Any]], None]
OnLost = Callable[[], None]

LOST_MESSAGE = "The engine ended during a request. The next request restarts it; see the engine's log for the cause."


def ignore_notification(method: str, params: dict[str, Any]) -> None:
    """The default of `on_notification`."""


class EngineClient:
    """An open connection after its hello; made by `open_client`."""

    def __init__(self, streams: transport.Streams, on_notification: OnNotification, on_lost: OnLost) -> None:
        self._reader, self._writer = streams
        self._on_notification = on_notification
        self._on_lost = on_lost
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.get_running_loop().create_task(self._read())
        self.alive = True
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
            raise Problem(
                "engine_hanging",
                f"The engine runs but did not answer within {HELLO_SECONDS:g} s. "
                "Run Green Code: Restart Engine, or end that process by hand.",
            ) from error
        self.engine_pid = int(answer["pid"])
        self._greeted = True

    async def request(self, method: str, params: Any) -> Any:
        """Send a request and wait for the result.

        Raises:
            Problem: with the engine's error code, or `engine_lost`.
        """
        if not self.alive:
            raise Problem("engine_lost", LOST_MESSAGE)
        request_id = next(self._ids)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = future
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
            for future in self._pending.values():
                if not future.done():
                    future.set_exception(Problem("engine_lost", LOST_MESSAGE))
            if self._greeted:
                self._on_lost()

    def _received(self, message: framing.Message) -> None:
        if (method := message.get("method")) is not None:
            params = message.get("params")
            self._on_notification(str(method), params if isinstance(params, dict) else {})
            return
        future = self._pending.get(message.get("id", 0))
        if future is None or future.done():
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
