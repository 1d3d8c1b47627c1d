"""Frames: whatever arrives, and however it is cut, either the same messages come out or a FrameError."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.link.framing import LIMIT_BYTES, Decoder, FrameError, encode
from tests.examples import examples

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
messages = st.dictionaries(st.text(), values, max_size=4)


@examples(25)
@given(st.lists(messages, max_size=3), st.data())
def test_any_cut_of_the_stream_gives_the_same_messages(sent: list[dict], data: st.DataObject) -> None:
    stream = b"".join(encode(message) for message in sent)
    decoder, received = Decoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += decoder.feed(stream[:size])
        stream = stream[size:]
    assert received == sent


@given(st.lists(st.binary(max_size=64), max_size=8))
def test_garbage_gives_maps_or_a_frame_error(chunks: list[bytes]) -> None:
    decoder = Decoder()
    try:
        for chunk in chunks:
            assert all(isinstance(message, dict) for message in decoder.feed(chunk))
    except FrameError:
        pass


@given(st.binary(max_size=200))
def test_a_whole_frame_of_garbage_gives_a_map_or_a_frame_error(body: bytes) -> None:
    try:
        decoded = Decoder().feed(len(body).to_bytes(4, "big") + body)
    except FrameError:
        return
    assert len(decoded) == 1 and isinstance(decoded[0], dict)


def test_an_oversized_frame_is_refused_by_its_header() -> None:
    with pytest.raises(FrameError, match="over the limit"):
        Decoder().feed((LIMIT_BYTES + 1).to_bytes(4, "big"))


def test_an_oversized_message_is_not_sent() -> None:
    with pytest.raises(FrameError, match="over the limit"):
        encode({"prefix": "x" * (LIMIT_BYTES + 1)})


def test_deep_nesting_is_refused() -> None:
    body = b"\x91" * 100_000 + b"\xc0"
    with pytest.raises(FrameError):
        Decoder().feed(len(body).to_bytes(4, "big") + body)


def test_something_else_than_a_map_is_refused() -> None:
    body = msgpack.packb([1, 2])
    with pytest.raises(FrameError, match="list"):
        Decoder().feed(len(body).to_bytes(4, "big") + body)


def test_lone_surrogates_become_question_marks() -> None:
    assert Decoder().feed(encode({"text": "a\ud83db"})) == [{"text": "a?b"}]
