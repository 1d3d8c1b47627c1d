"""Checks of messages against their types in messages.py. One sentence names the first fault, and echoes little of the value.

A type may carry limits, as in `Annotated[int, Between(1, 9)]`. A value of another type is never converted.
Must not know: which messages there are.
"""

from __future__ import annotations

import functools
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    Protocol,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from green_code.problems import Problem, shown

Shape = TypeVar("Shape")


class Limit(Protocol):
    """What a value must also be, if it has the right type."""

    def fault(self, value: Any) -> str | None:
        """The end of a sentence that the value's name begins, or None."""


@dataclass(frozen=True)
class Between:
    """A number, both ends included."""

    low: int
    high: int

    def fault(self, value: Any) -> str | None:
        return None if self.low <= value <= self.high else f"is {shown(value)}, outside {self.low} to {self.high}"


@dataclass(frozen=True)
class AtMost:
    """The length of a text or of a list."""

    length: int

    def fault(self, value: Any) -> str | None:
        things = "characters" if isinstance(value, str) else "items"
        return None if len(value) <= self.length else f"has {len(value)} {things}, over the limit of {self.length}"


@dataclass(frozen=True)
class Without:
    """A text without one character."""

    character: str

    def fault(self, value: Any) -> str | None:
        return f"has the character {self.character!r}" if self.character in value else None


@dataclass(frozen=True)
class Visible:
    """A text of visible ASCII characters, as in the header of a request. It is a secret, and no fault repeats it."""

    def fault(self, value: Any) -> str | None:
        return None if all("!" <= each <= "~" for each in value) else "has a character that no API key has"


@dataclass(frozen=True)
class Like:
    """A text of a form, which `words` describe."""

    pattern: re.Pattern[str]
    words: str

    def fault(self, value: Any) -> str | None:
        return None if self.pattern.fullmatch(value) else f"is {shown(value)}, none of {self.words}"


@dataclass(frozen=True)
class NumberOr:
    """A number in a range that `words` describe, or one of some names."""

    is_inside: Callable[[float], bool]
    words: str
    names: tuple[str, ...]

    def fault(self, value: Any) -> str | None:
        if value in self.names or (not isinstance(value, str) and self.is_inside(value)):
            return None
        return f"is {shown(value)}, neither {self.words} nor one of {', '.join(self.names)}"


def checked(shape: type[Shape], value: Mapping[str, Any], method: str) -> Shape:
    """The parameters of a method, if they have this shape (a TypedDict).

    Raises:
        Problem: `bad_request`, with the first fault.
    """
    if (found := _map_fault(shape, value, f"{method} has no parameter")) is not None:
        raise Problem("bad_request", f"Bad request: {found}.")
    return cast(Shape, dict(value))


def fault_of(kind: Any, value: object) -> str | None:
    """What is wrong with a value of a type: the end of a sentence that its name begins. None: nothing."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        if (fault := fault_of(parts[0], value)) is not None:
            return fault
        return next((fault for limit in parts[1:] if (fault := limit.fault(value)) is not None), None)
    if origin in (Union, types.UnionType):
        faults = [fault_of(part, value) for part in parts]
        return None if None in faults else max(faults, key=_is_about_its_type)
    if origin is Literal:
        return None if type(value) is str and value in parts else f"is {shown(value)}, none of {', '.join(parts)}"
    if origin is list:
        if type(value) is not list:
            return _other_type(value, "list")
        return next((f"has an item that {fault}" for item in value if (fault := fault_of(parts[0], item))), None)
    if is_typeddict(kind):
        if not isinstance(value, dict):
            return _other_type(value, "map")
        fault = _map_fault(kind, value, "it has no key")
        return None if fault is None else f"is a map in which {fault}"
    if kind is float and type(value) in (int, float):
        return None if abs(cast(float, value)) < math.inf else f"is {value}, no finite number"
    return None if type(value) is kind else _other_type(value, kind.__name__)


def _map_fault(shape: Any, value: Mapping[str, Any], unknown: str) -> str | None:
    kinds = _kinds(shape)
    for name in value:
        if name not in kinds:
            return f"{unknown} {shown(name)}; there are {', '.join(kinds) or 'none'}"
    for name, kind in kinds.items():
        if name not in value:
            if name in shape.__required_keys__:
                return f"{name} is missing"
        elif (fault := fault_of(kind, value[name])) is not None:
            return f"{name} {fault}"
    return None


@functools.lru_cache(maxsize=64)
def _kinds(shape: Any) -> Mapping[str, Any]:
    return get_type_hints(shape, include_extras=True)


def _other_type(value: object, expected: str) -> str:
    return f"is of type {type(value).__name__}, not {expected}"


def _is_about_its_type(fault: str | None) -> bool:
    """Of several faults, the one to report: the value has this type, and breaks a limit."""
    return fault is not None and not fault.startswith("is of type")
