"""JSON-RPC messages from the editor, as LSP frames them: a header, and a body in JSON.

pygls's own loop passes over a header that it cannot read, and then takes everything that follows for one: the server is deaf. Here
a bad body is answered and the next message is read, while a bad header ends the stream, since nothing tells where the next one begins.
Must not know: what a message is for, or who answers it.
"""

from __future__ import annotations

import json
import re
from typing import Any, BinaryIO, Final

from green_code.problems import shown

BODY_BYTES_AT_MOST: Final = 1 << 27
"""An editor sends whole documents, but VS Code none of more than 50 MB."""
_LINE_BYTES_AT_MOST: Final = 4096
_LINES_AT_MOST: Final = 32
_DEPTH_AT_MOST: Final = 100
_METHOD_CHARACTERS_AT_MOST: Final = 200
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH: Final = re.compile(rb"[0-9]{1,12}")

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600

Id = int | str | None


class BrokenStream(Exception):
    """A header that cannot be read: the rest of the input has no meaning."""


class BadMessage(Exception):
    """A body that is no message. Has the answer's code, and the request's id where that is known."""

    def __init__(self, code: int, message: str, request_id: Id = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


def read_body(stream: BinaryIO) -> bytes | None:
    """The next body; None at the end of the input. Names of header fields have any case; unknown fields are passed over.

    Raises:
        BrokenStream: the header has no length that can be used, or the input ends in mid-message.
    """
    length, is_header = None, False
    for _ in range(_LINES_AT_MOST):
        line = stream.readline(_LINE_BYTES_AT_MOST)
        if not line and not is_header:
            return None
        name, colon, value = line.partition(b":")
        if line in (b"\r\n", b"\n"):
            if is_header:
                break
        elif not line.endswith(b"\n") or not colon or not _NAME.fullmatch(name):
            raise BrokenStream(f"{shown(line)} is no header field of LSP")
        else:
            is_header = True
            if name.lower() == b"content-length":
                length = _length(value.strip())
    if length is None:
        raise BrokenStream("a header has no Content-Length")
    body = stream.read(length)
    if len(body) < length:
        raise BrokenStream("the input ended in mid-message")
    return body


def parse(body: bytes) -> dict[str, Any]:
    """A request, a notification or an answer; one without `params` gets null.

    Raises:
        BadMessage: it is no JSON, or no message of JSON-RPC.
    """
    try:
        message = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadMessage(PARSE_ERROR, "The message is not JSON.") from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise BadMessage(INVALID_REQUEST, "The message is no object of JSON-RPC 2.0.")
    request_id = message.get("id") if type(message.get("id")) in (int, str) else None
    # An error whose request could not be read has the id null.
    if "id" in message and request_id is None and "error" not in message:
        raise BadMessage(INVALID_REQUEST, "The message's id is neither a number nor a string.")
    if _is_deep(message):
        raise BadMessage(INVALID_REQUEST, f"The message is nested deeper than {_DEPTH_AT_MOST} levels.", request_id)
    method = message.get("method")
    if isinstance(method, str) and len(method) <= _METHOD_CHARACTERS_AT_MOST:
        return {"params": None, **message}
    if "method" in message or "id" not in message or not {"result", "error"} & message.keys():
        raise BadMessage(INVALID_REQUEST, "The message is neither a request nor an answer.", request_id)
    return message


def _length(value: bytes) -> int:
    if not _LENGTH.fullmatch(value) or int(value) > BODY_BYTES_AT_MOST:
        raise BrokenStream(f"Content-Length is {shown(value)}, no number up to {BODY_BYTES_AT_MOST}")
    return int(value)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEPTH_AT_MOST):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in inner for item in items if isinstance(item, (dict, list))]
        if not level:
            return False
    return True
