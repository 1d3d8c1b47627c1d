"""Values that no sane peer sends, from seeded random numbers."""

from __future__ import annotations

import contextlib
import json
import random
import struct
import sys
from typing import Any

PLAIN: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, -(2**63), 1e308, -0.0, float("inf"), float("nan"), "", " ", "\0" * 100_000,
    "x" * 300, "~nobody/x", "/dev/zero", "../../etc/passwd", "confidence:0.٣", "fixed:999", "exact", "a\u2028b", "\U0001f600" * 50, [], {},
    [[]], {"": {}}, [None] * 1000, "9" * 400, "1e999", b"\xff\x00", "\ud800",
)  # fmt: skip
SIZES = (0, 1, 2, 3, 63, 64, 65, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**48, 2**63 - 1, 2**64 - 1)


def value(numbers: random.Random) -> Any:
    """One value; sometimes a deep or a long one."""
    kind = numbers.randrange(8)
    if kind == 0:
        deep: Any = []
        for _ in range(numbers.choice((10, 500, 2000))):
            deep = [deep]
        return deep
    if kind == 1:
        return "".join(chr(numbers.randrange(1, 0xD7FF)) for _ in range(numbers.randrange(200)))
    if kind == 2:
        return {str(value): numbers.choice(PLAIN) for value in range(numbers.randrange(20))}
    return numbers.choice(PLAIN)


def as_json(wanted: Any) -> Any:
    """The same without bytes, which JSON lacks."""
    if isinstance(wanted, dict):
        return {key: as_json(part) for key, part in wanted.items()}
    return wanted.decode("latin-1") if isinstance(wanted, bytes) else wanted


def encoded(wanted: Any) -> bytes:
    """JSON of any `value`, however deep."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        return json.dumps(wanted).encode("utf-8", "replace")
    finally:
        sys.setrecursionlimit(limit)


_DEEP = "(nested too deep for an encoder)"


def dumps(tree: Any, numbers: random.Random) -> bytes:
    """JSON with one part that is another value, is missing, or is nested 100,000 deep."""
    text = json.dumps(_changed(tree, numbers.choice([*_paths(tree)]), numbers))
    return text.replace(f'"{_DEEP}"', "[" * 100_000 + "]" * 100_000).encode("utf-8", "replace")


def damaged(data: bytes, numbers: random.Random) -> bytes:
    """A file with a few changes: bits, cuts, repeats, and numbers of 2, 4 or 8 bytes in the place of others; near the beginning more
    often, where formats have their sizes."""
    made = bytearray(data)
    for _ in range(numbers.randrange(1, 4)):
        at = min(int(len(made) * numbers.random() ** numbers.choice((1, 4))), max(0, len(made) - 1))
        kind = numbers.randrange(6)
        if not made or kind == 0:
            del made[at:]
        elif kind == 1:
            made[at] ^= 1 << numbers.randrange(8)
        elif kind == 2:
            made[at : at + numbers.randrange(64)] = numbers.randbytes(numbers.randrange(64))
        elif kind == 3:
            made[at:at] = made[at : at + numbers.randrange(256)]
        else:
            form = numbers.choice(("<H", "<I", "<Q"))
            number = numbers.choice(SIZES) & ((1 << 8 * struct.calcsize(form)) - 1)
            made[at : at + struct.calcsize(form)] = struct.pack(form, number)
    return bytes(made)


def _paths(tree: Any, at: tuple[Any, ...] = ()) -> Any:
    yield at
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, part in items:
        yield from _paths(part, (*at, key))


def _changed(tree: Any, path: tuple[Any, ...], numbers: random.Random) -> Any:
    if not path:
        return _DEEP if numbers.random() < 0.05 else as_json(_flat(numbers))
    copied = dict(tree) if isinstance(tree, dict) else list(tree)
    if len(path) == 1 and numbers.random() < 0.2:
        del copied[path[0]]
    else:
        copied[path[0]] = _changed(tree[path[0]], path[1:], numbers)
    return copied


def _flat(numbers: random.Random) -> Any:
    """A value that an encoder takes."""
    while True:
        with contextlib.suppress(RecursionError):
            wanted = value(numbers)
            json.dumps(as_json(wanted))
            return wanted
