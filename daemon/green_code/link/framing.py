"""Frames of the link: a 4-byte big-endian length, then that many bytes of msgpack that hold one map.

No input or output here, so the same code serves both ends and the fuzz test.
Must not know: methods, sockets, or what the maps mean.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

LIMIT_BYTES: Final = 8 * 1024 * 1024
HEADER_BYTES: Final = 4

Message = dict[str, Any]


class FrameError(Exception):
    """A frame that is too large or not one msgpack map; its connection must be closed."""


def encode(message: Message) -> bytes:
    """One frame. Lone surrogates, which editors may send, become question marks.

    Raises:
        FrameError: the message is over the limit, or holds a type that msgpack lacks.
    """
    try:
        body: bytes = msgpack.packb(message, use_bin_type=True, unicode_errors="replace")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FrameError(f"message cannot be packed: {error}") from error
    if len(body) > LIMIT_BYTES:
        raise FrameError(f"message of {len(body)} bytes is over the limit of {LIMIT_BYTES}")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class Decoder:
    """Turns bytes into messages; holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def buffered_bytes(self) -> int:
        """Of the incomplete frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes as they arrive, and return the messages that they complete.

        Raises:
            FrameError: the peer sent a bad frame; nothing after it can be understood.
        """
        self._buffer += data
        messages = []
        while len(self._buffer) >= HEADER_BYTES:
            length = int.from_bytes(self._buffer[:HEADER_BYTES], "big")
            if length > LIMIT_BYTES:
                raise FrameError(f"frame of {length} bytes is over the limit of {LIMIT_BYTES}")
            end = HEADER_BYTES + length
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[HEADER_BYTES:end])
            del self._buffer[:end]
            messages.append(_decode_body(body))
        return messages


def _decode_body(body: bytes) -> Message:
    try:
        message = msgpack.unpackb(body, raw=False, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise FrameError(f"frame is not msgpack: {error}") from error
    if not isinstance(message, dict):
        raise FrameError(f"frame holds a {type(message).__name__}, not a map")
    return message
