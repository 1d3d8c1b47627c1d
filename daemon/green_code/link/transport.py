"""The byte streams under the link: a unix socket, or a named pipe on Windows; never TCP.

Both ends close the connection unless the other is known to be the same user. The Windows functions use the proactor
loop's pipes as asyncio documents them; tests on Linux do not run them.
Must not know: frames or messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from green_code.problems import Problem

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
OnConnection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SOCKET_PATH_LIMIT_BYTES = 103
"""macOS's limit for a socket's path without its final zero; Linux has 107."""

PIPE_PREFIX = "\\\\.\\pipe\\"


async def listen(address: str, on_connection: OnConnection) -> Callable[[], None]:
    """Serve at `address` until the returned function is called. The caller holds the engine's lock.

    Raises:
        Problem: the socket cannot be made there.
    """
    if sys.platform == "win32":
        return await _listen_pipe(address, on_connection)
    if len(os.fsencode(address)) > SOCKET_PATH_LIMIT_BYTES:
        raise Problem(
            "cache_unwritable",
            f"The socket's path {address} exceeds the system's limit of {SOCKET_PATH_LIMIT_BYTES} bytes. "
            "Set GREEN_CODE_RUNTIME_DIR to a shorter folder.",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address)
        Path(address).chmod(0o600)  # before listen(), so no connection exists yet
        server = await asyncio.start_unix_server(on_connection, sock=listener)
    except OSError as error:
        listener.close()
        raise Problem(
            "cache_unwritable",
            f"The engine cannot listen at {address} ({error}). Set GREEN_CODE_RUNTIME_DIR to a writable folder.",
        ) from error
    return server.close


async def connect(address: str) -> Streams:
    """Connect to `address`. Raises OSError if no process of this user listens there."""
    if sys.platform == "win32":
        return await _connect_pipe(address)
    reader, writer = await asyncio.open_unix_connection(address)
    if not peer_is_this_user(writer):
        await close(writer)
        raise ConnectionRefusedError(f"{address} is served by another user")
    return reader, writer


async def close(writer: asyncio.StreamWriter) -> None:
    """Close, also if the peer has already disconnected."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def peer_is_this_user(writer: asyncio.StreamWriter) -> bool:
    """Whether the process at the other end runs as this user; False if the system does not tell."""
    if sys.platform == "win32":
        return True  # only its owner and administrators can write to a pipe, and its name cannot be guessed
    connection = writer.get_extra_info("socket")
    try:
        return connection is not None and peer_uid(connection) == os.getuid()
    except (OSError, struct.error, AttributeError):
        return False


def peer_uid(connection: Any) -> int:
    """The effective uid of a unix socket's peer, from the kernel."""
    if hasattr(socket, "SO_PEERCRED"):
        layout = "3i"  # struct ucred: pid, uid, gid
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(layout))
        return int(struct.unpack(layout, raw)[1])
    # macOS and the BSDs: struct xucred { u_int version; uid_t uid; … } by LOCAL_PEERCRED at level SOL_LOCAL.
    sol_local, local_peercred, layout = 0, 1, "2I"
    raw = connection.getsockopt(sol_local, local_peercred, 76)
    return int(struct.unpack(layout, raw[: struct.calcsize(layout)])[1])


async def _listen_pipe(address: str, on_connection: OnConnection) -> Callable[[], None]:
    loop: Any = asyncio.get_running_loop()

    def protocol() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), on_connection)

    try:
        servers = await loop.start_serving_pipe(protocol, address)
    except OSError as error:
        raise Problem(
            "cache_unwritable",
            f"The engine cannot listen at {address} ({error}): another process uses that name. Sign out and in again.",
        ) from error

    def stop() -> None:
        for server in servers:
            server.close()

    return stop


async def _connect_pipe(address: str) -> Streams:
    loop: Any = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, protocol = await loop.create_pipe_connection(lambda: asyncio.StreamReaderProtocol(reader), address)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
