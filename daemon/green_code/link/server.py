"""The engine's end of the link: accepts connections of this user, and turns frames into calls of the handler.

Every request gets a result or an error code. A bad frame, a missing hello or a peer that does not read closes its own
connection only. What peers can make the engine hold is bounded: connections, time and bytes before the hello, and unfinished frames.
Must not know: what the methods do, models, or torch.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from green_code import __version__
from green_code.link import framing, messages, transport
from green_code.link.checks import checked
from green_code.problems import Problem, shown

log = logging.getLogger(__name__)

READ_BYTES = 1 << 16
UNREAD_LIMIT_BYTES = 8 * 1024 * 1024
"""A peer with more unread bytes than this has stopped reading."""
HELLO_SECONDS = 5.0
"""A connection without a hello is closed after this."""
HELLO_BYTES: Final = 1 << 16
"""No hello is longer."""
CONNECTIONS_AT_MOST: Final = 64
UNFINISHED_BYTES: Final = 64 * 1024 * 1024
"""Of the incomplete frames of all connections; a connection that goes beyond is closed."""


class Handler(Protocol):
    """Answers requests, whose parameters are checked; called on the event loop only."""

    def hello(self, connection: Connection, params: dict[str, Any]) -> str:
        """A peer of this version has connected; returns the engine's state."""

    def request(self, connection: Connection, request_id: int, method: str, params: dict[str, Any]) -> Awaitable[Any]:
        """Called where the frame is read, so that a later frame finds the request; gives the result. A Problem becomes an error."""

    def notification(self, connection: Connection, method: str, params: dict[str, Any]) -> None:
        """A notification has arrived."""

    def disconnected(self, connection: Connection) -> None:
        """The peer has disconnected."""


class Connection:
    """One peer."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handler: Handler,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self.unfinished_bytes = 0
        self._has_room = has_room
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._requests: set[asyncio.Task[None]] = set()
        self._greeted = False
        self._open = True

    def notify(self, method: str, params: Any) -> None:
        """Send a notification; dropped before the hello and after the connection's end."""
        if self._greeted:
            self._send({"method": method, "params": params})

    async def run(self) -> None:
        """Serve until the peer disconnects or sends a bad frame."""
        decoder = framing.Decoder()
        deadline = asyncio.get_running_loop().call_later(HELLO_SECONDS, self._end_without_hello)
        try:
            while self._open and (data := await self._reader.read(READ_BYTES)):
                for message in decoder.feed(data):
                    self._dispatch(message)
                self.unfinished_bytes = decoder.buffered_bytes
                if not self._greeted and self.unfinished_bytes > HELLO_BYTES:
                    raise framing.FrameError("too many bytes before hello")
                if self.unfinished_bytes and not self._has_room():
                    raise framing.FrameError("too many bytes of unfinished frames")
        except framing.FrameError as error:
            log.warning("connection closed: %s", error)
        except OSError as error:
            log.info("connection lost: %s", error)
        finally:
            deadline.cancel()
            self._open = False
            self._handler.disconnected(self)
            for task in self._requests:
                task.cancel()
            await transport.close(self._writer)

    def close(self) -> None:
        """End the connection from this side."""
        self._open = False
        self._writer.close()

    def _end_without_hello(self) -> None:
        if not self._greeted:
            log.warning("connection closed: no hello within %g s", HELLO_SECONDS)
            self.close()

    def _dispatch(self, message: framing.Message) -> None:
        method, params, request_id = message.get("method"), message.get("params", {}), message.get("id")
        if not isinstance(method, str) or not isinstance(params, dict):
            raise framing.FrameError("message without a method or with params that are no map")
        if request_id is not None and (not isinstance(request_id, int) or isinstance(request_id, bool)):
            raise framing.FrameError(f"request id of type {type(request_id).__name__}")
        if method == messages.HELLO and request_id is not None:
            self._hello(request_id, params)
        elif not self._greeted:
            raise framing.FrameError(f"{shown(method)} before hello")
        elif request_id is None:
            self._take_notice(method, params)
        else:
            self._begin(request_id, method, params)

    def _hello(self, request_id: int, params: dict[str, Any]) -> None:
        theirs = (params.get("protocol"), params.get("version"))
        ours = (messages.PROTOCOL, __version__)
        try:
            if theirs != ours:  # before the check: a hello of another version may have another shape
                raise Problem(
                    "other_version",
                    f"The engine has protocol {ours[0]} of green-code {ours[1]}, the client has protocol "
                    f"{shown(theirs[0])} of green-code {shown(theirs[1])}. Start an engine of the client's version.",
                )
            if self._greeted:
                raise Problem("bad_request", "Bad request: a connection has one hello.")
            params = _checked(messages.HELLO, params)
        except Problem as problem:
            self._refuse(request_id, problem)
            return
        self._greeted = True
        state = self._handler.hello(self, params)
        answer = {"protocol": ours[0], "version": ours[1], "pid": os.getpid(), "state": state}
        self._send({"id": request_id, "result": answer})

    def _take_notice(self, method: str, params: dict[str, Any]) -> None:
        try:
            self._handler.notification(self, method, _checked(method, params))
        except Problem as problem:
            log.warning("a notification is ignored: %s", problem)

    def _begin(self, request_id: int, method: str, params: dict[str, Any]) -> None:
        try:
            result = self._handler.request(self, request_id, method, _checked(method, params))
        except Exception as error:
            self._fail(request_id, method, error)
            return
        task = asyncio.get_running_loop().create_task(self._answer(request_id, method, result))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _answer(self, request_id: int, method: str, result: Awaitable[Any]) -> None:
        try:
            self._send({"id": request_id, "result": await result})
        except Exception as error:
            self._fail(request_id, method, error)

    def _fail(self, request_id: int, method: str, error: Exception) -> None:
        if not isinstance(error, Problem):
            log.error("request %s failed", method, exc_info=error)
            text = f"{method} failed: {type(error).__name__}: {error}. The engine's log has the details."
            error = Problem("internal_error", text)
        self._refuse(request_id, error)

    def _refuse(self, request_id: int, problem: Problem) -> None:
        self._send({"id": request_id, "error": {"code": problem.reason, "message": str(problem)}})

    def _send(self, message: framing.Message) -> None:
        if not self._open or self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > UNREAD_LIMIT_BYTES:
            log.warning("connection closed: the peer does not read")
            self._writer.transport.abort()  # close() would wait until the peer reads
            return
        try:
            self._writer.write(_encoded(message))
        except MemoryError:  # of one message; whoever sends it must not fail, and the peer must not wait
            log.warning("connection closed: no memory for a message")
            self._writer.transport.abort()


def _encoded(message: framing.Message) -> bytes:
    """A frame; of an answer that cannot be one, the reason. A notification is dropped."""
    try:
        return framing.encode(message)
    except framing.FrameError as error:
        log.error("%s", error)
        if "id" not in message:
            return b""
        failure = {"code": "internal_error", "message": f"The answer cannot be sent: {error}"}
        return framing.encode({"id": message["id"], "error": failure})


def _checked(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a method that a client may call. Raises Problem `bad_request`."""
    if (shape := messages.PARAMS.get(method)) is None:
        raise Problem("bad_request", f"Bad request: the engine has no method {shown(method)}.")
    return checked(shape, params, method)


class LinkServer:
    """Listens at one address, and holds the open connections."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: dict[Connection, asyncio.Task[Any] | None] = {}
        self._stop_listening: Callable[[], None] | None = None

    async def start(self, address: str) -> None:
        """Begin to accept connections. Raises Problem if the address cannot be used."""
        self._stop_listening = await transport.listen(address, self._accept)

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        for connection in self._connections:
            connection.close()
        if tasks := [task for task in self._connections.values() if task is not None]:
            await asyncio.wait(tasks, timeout=2)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not transport.peer_is_this_user(writer):
            log.warning("refused a connection of another user")
            await transport.close(writer)
            return
        if len(self._connections) >= CONNECTIONS_AT_MOST:
            log.warning("refused a connection: there are %d", CONNECTIONS_AT_MOST)
            await transport.close(writer)
            return
        connection = Connection(reader, writer, self._handler, self._has_room)
        self._connections[connection] = asyncio.current_task()
        try:
            await connection.run()
        finally:
            del self._connections[connection]

    def _has_room(self) -> bool:
        return sum(connection.unfinished_bytes for connection in self._connections) <= UNFINISHED_BYTES
