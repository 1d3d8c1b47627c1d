"""The one exception that users see: a cause and a fix.

Raised where input, a model, a bundle or the machine is not as needed. Any other exception that reaches the user is a bug.
"""

from __future__ import annotations

import asyncio
import contextlib
import reprlib
from collections.abc import Callable, Iterator
from typing import Any, Final

ECHO_CHARACTERS: Final = 100
"""The most that a message repeats of a bad value."""


class Problem(Exception):
    """A failure with a reason code and a sentence for the user.

    Args:
        reason: code, one of `link.messages.Refusal`.
        message: what failed, what was found, what to do next.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def too_large(model: str, why: str = "", other: str = "") -> Problem:
    """A model that does not fit into the memory; `why`, and what would, where that is known."""
    because, instead = (f": {why}" if why else ""), (f": {other}" if other else "")
    return Problem(
        "no_memory",
        f"There is not enough memory for {model}{because}. Close something, or select a smaller model{instead}.",
    )


@contextlib.contextmanager
def refusing(problem: Callable[[str], Exception]) -> Iterator[None]:
    """Turns whatever a hostile file makes a library raise into `problem(what)`. A panic of one in Rust is no `Exception`.

    A Problem stays one, and lack of memory says nothing of the file.
    """
    try:
        yield
    except (Problem, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise problem(in_one_line(error)) from error


def in_one_line(error: BaseException) -> str:
    """What an exception says, without the file's line breaks and length."""
    said, kind = " ".join(str(error)[:1000].split())[:200], type(error)
    # Of Python's own, most say little without their name: KeyError, RecursionError.
    named = not said or (kind.__module__ == "builtins" and not issubclass(kind, (OSError, ValueError)))
    return f"{kind.__name__}: {said}".removesuffix(": ") if named else said


def retrieve_exception(future: asyncio.Future[Any]) -> None:
    """A done callback for a failure that perhaps nobody awaits: without it, asyncio logs the exception as never retrieved."""
    if not future.cancelled():
        future.exception()


def shown(value: object) -> str:
    """A bad value for a message: its beginning and end, however long it is or deeply nested."""
    text = _ECHO.repr(value)
    return text if len(text) <= ECHO_CHARACTERS else text[: ECHO_CHARACTERS - 3] + "..."


_ECHO: Final = reprlib.Repr()
_ECHO.maxstring = _ECHO.maxother = _ECHO.maxlong = 60
_ECHO.maxlevel = 2
