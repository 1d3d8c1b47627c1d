"""The editor's bytes: every message comes out, or an answer, or the end; never silence."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.lsp import wire
from tests.examples import examples

MESSAGE = {"jsonrpc": "2.0", "id": 1, "method": "greenCode/explain", "params": {}}


def framed(body: bytes, header: str = "Content-Length: {}\r\n\r\n") -> bytes:
    return header.format(len(body)).encode() + body


def read_all(data: bytes) -> list[bytes]:
    stream, bodies = io.BytesIO(data), []
    while (body := wire.read_body(stream)) is not None:
        bodies.append(body)
    return bodies


@pytest.mark.parametrize(
    "header",
    [
        "Content-Length: {}\r\n\r\n",
        "content-length: {}\r\n\r\n",
        "CONTENT-LENGTH:{}\r\n\r\n",
        "Content-Length:   {}  \r\n\r\n",
        "Content-Length: {}\n\n",
        "Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
        "Content-Length: {}\r\nX-Unknown: a:b\r\n\r\n",
        "\r\nContent-Length: {}\r\n\r\n",
    ],
)
def test_headers_that_are_right(header: str) -> None:
    assert read_all(framed(b"{}", header) + framed(b"[1]", header)) == [b"{}", b"[1]"]


@pytest.mark.parametrize(
    "data",
    [
        b"Content-Length: abc\r\n\r\n{}",
        b"Content-Length: -2\r\n\r\n{}",
        b"Content-Length: 2.0\r\n\r\n{}",
        "Content-Length: ٢\r\n\r\n{}".encode(),
        b"Content-Length: 1000000000000000\r\n\r\n{}",
        b"Content-Length: 999999999999\r\n\r\n{}",
        b"Content-Length:\r\n\r\n{}",
        b"Content-Type: x\r\n\r\n{}",
        framed(b"{}")[:-1],
        b"Content-Length: 2\r\n",
        b"Content-Length: 2",
        framed(b"{}") + b"}" + framed(b"{}"),
        b"Content Length: 2\r\n\r\n{}",
        b"\r\n" * 100,
        b"X: y\r\n" * 100 + framed(b"{}"),
        b"X: " + b"y" * 5000 + b"\r\n" + framed(b"{}"),
        b"\0" * 10_000,
    ],
)
def test_a_header_that_is_wrong_ends_the_stream(data: bytes) -> None:
    with pytest.raises(wire.BrokenStream) as caught:
        read_all(data)
    assert 10 < len(str(caught.value)) < 200


@examples(200, derandomize=True)
@given(st.lists(st.binary(max_size=30) | st.just(framed(b"{}")) | st.just(b"Content-Length: "), max_size=6))
def test_garbage_gives_bodies_or_the_end(chunks: list[bytes]) -> None:
    with contextlib.suppress(wire.BrokenStream):
        read_all(b"".join(chunks))


def test_messages_that_are_right() -> None:
    for message in (
        MESSAGE,
        {**MESSAGE, "id": "one"},
        {"jsonrpc": "2.0", "method": "exit", "params": None},
        {"jsonrpc": "2.0", "id": 1, "result": None},
        {"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": ""}},
    ):
        assert wire.parse(json.dumps(message).encode()) == message
    assert wire.parse(b'{"jsonrpc": "2.0", "method": "exit"}')["params"] is None


@pytest.mark.parametrize(
    ("body", "code", "request_id"),
    [
        (b"", wire.PARSE_ERROR, None),
        (b"{", wire.PARSE_ERROR, None),
        (b"\xff\xfe\xff", wire.PARSE_ERROR, None),
        (b"[" * 200_000, wire.PARSE_ERROR, None),
        (b'{"jsonrpc": "2.0", "id": NaN}', wire.PARSE_ERROR, None),
        (b'{"jsonrpc": "2.0", "id": ' + b"9" * 5000 + b"}", wire.PARSE_ERROR, None),
        (b"[]", wire.INVALID_REQUEST, None),
        (b"3", wire.INVALID_REQUEST, None),
        (b"{}", wire.INVALID_REQUEST, None),
        ({**MESSAGE, "jsonrpc": "1.0"}, wire.INVALID_REQUEST, None),
        ({**MESSAGE, "id": True}, wire.INVALID_REQUEST, None),
        ({**MESSAGE, "id": [1]}, wire.INVALID_REQUEST, None),
        ({**MESSAGE, "id": None}, wire.INVALID_REQUEST, None),
        ({**MESSAGE, "method": 3}, wire.INVALID_REQUEST, 1),
        ({**MESSAGE, "method": "x" * 1000}, wire.INVALID_REQUEST, 1),
        ({"jsonrpc": "2.0", "id": 1}, wire.INVALID_REQUEST, 1),
        ({"jsonrpc": "2.0", "result": 1}, wire.INVALID_REQUEST, None),
        ({"jsonrpc": "2.0"}, wire.INVALID_REQUEST, None),
    ],
)
def test_a_body_that_is_no_message_is_answered(body: Any, code: int, request_id: Any) -> None:
    with pytest.raises(wire.BadMessage) as caught:
        wire.parse(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert (caught.value.code, caught.value.request_id) == (code, request_id)


def test_a_message_that_is_nested_too_deep_is_refused_by_its_id() -> None:
    deep = b'{"jsonrpc":"2.0","id":7,"method":"x","params":' + b"[" * 500 + b"]" * 500 + b"}"
    with pytest.raises(wire.BadMessage, match="nested") as caught:
        wire.parse(deep)
    assert caught.value.request_id == 7
