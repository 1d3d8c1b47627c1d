"""Strategies for messages: right ones by their types in `link/messages.py`, and wrong values for any of their fields."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from hypothesis import strategies as st

from green_code.link import messages
from green_code.link.checks import AtMost, Between, Like, NumberOr, Visible


def nested(depth: int, core: Any = 0) -> Any:
    """Lists within lists."""
    for _ in range(depth):
        core = [core]
    return core


NEVER_RIGHT: Final[Mapping[str, Any]] = {
    "nothing": None,
    "bytes": b"\xff" * 1000,
    "a map": {"id": 1},
    "nested lists": nested(400),
    "nested maps": {"a": {"b": nested(100, {"c": 1})}},
    "a list of everything": [None, True, -1, 2**63, 1e308, "x", b"x", {}, []],
    "no number": float("nan"),
    "infinite": float("-inf"),
    "huge": 2**64 - 1,
    "negative": -(2**63),
}
"""Values that no field of any message takes, but `None` where that is said, and a number as a request's id."""

LONG_TEXT: Final = "\0" * 3_000_000

WRONG_TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "decoding": (LONG_TEXT, "", "Exact", "fast\0", "ｆａｓｔ"),
    "device": (LONG_TEXT, "", "cuda:0", "CPU"),
    "policy": (
        LONG_TEXT,
        "",
        "confidence:0.٣",
        "fixed:٣",
        "fixed:0",
        "fixed:12345",
        "confidence:1.1",
        "confidence:nan",
        "confidence:0." + "9" * 100_000,
        "agent ",
        "full\n",
    ),
    "threshold": (LONG_TEXT, "", "cheap", "0.8"),
    "stop": (LONG_TEXT, "", "never", "0.5"),
    "language": (LONG_TEXT, "x" * 101),
    "model": (LONG_TEXT, "a\0b", "x" * 5000),
    "session": (LONG_TEXT,),
    "path": (LONG_TEXT,),
    "version": (LONG_TEXT, ""),
    "id": (LONG_TEXT, "x" * 65),
}
"""By a field's name. `prefix` and `suffix` may hold any text."""

MODELS_THAT_ARE_NONE: Final = (
    "x" * 300,
    "~nobody/x",
    "~" * 200,
    "a/" * 2000,
    "..",
    "/",
    "/dev/null",
    "CON",
    "\ud800",
    "\n",
)
"""Names that no model has; some of them no file may have."""

packable: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
"""Any value that a frame can hold."""

methods: Final = st.sampled_from(sorted(messages.PARAMS))


def right(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type of `link/messages.py`, within its limits."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _limited(parts[0], parts[1:])
    if origin in (Union, types.UnionType):
        return st.one_of(*map(right, parts))
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is list:
        return st.lists(right(parts[0]), max_size=3)
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        needed = {name: right(hints[name]) for name in kind.__required_keys__}
        return st.fixed_dictionaries(needed, optional={n: right(hints[n]) for n in kind.__optional_keys__})
    simple = {str: st.text(max_size=20), int: st.integers(-(2**63), 2**63), bool: st.booleans(), type(None): st.none()}
    return st.floats(allow_nan=False, allow_infinity=False) if kind is float else simple[kind]


def _limited(kind: Any, limits: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    for limit in limits:
        if isinstance(limit, Between):
            return st.integers(limit.low, limit.high)
        if isinstance(limit, Visible):
            return st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E))
        if isinstance(limit, Like):
            return st.sampled_from(
                ["full", "agent", "fixed:1", "fixed:9999", "confidence:0.9", "confidence:.5", "confidence:1"]
            )
        if isinstance(limit, NumberOr):
            return st.sampled_from(limit.names) | st.floats(0.5, 0.99)
        if isinstance(limit, AtMost) and kind is str:
            return st.text(
                st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=min(20, limit.length)
            )
    return right(kind)


json_values: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(
        ["\0", "x" * 10_000, "file://[", "file:///a/%ff", "untitled:", "\ud800", "[python]", "greenCode"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["jsonrpc", "id", "uri", "settings"]), inner, max_size=3
        )
    ),
    max_leaves=6,
) | st.just(nested(90))
"""Any value that an editor can send."""


@st.composite
def with_a_wrong_value(draw: st.DrawFn, message: Any) -> Any:
    """A message of which one value, at any depth, is another or is gone."""
    if not isinstance(message, (dict, list)) or not message or draw(st.integers(0, 3)) == 0:
        return draw(json_values)
    keys = sorted(message) if isinstance(message, dict) else list(range(len(message)))
    key = draw(st.sampled_from(keys))
    changed = message.copy()
    if isinstance(message, dict) and draw(st.integers(0, 5)) == 0:
        del changed[key]
    else:
        changed[key] = draw(with_a_wrong_value(message[key]))
    return changed
