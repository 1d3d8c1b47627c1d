"""Globs with VS Code's syntax: `*` and `?` within a path's part, `**` across parts, `[...]` and `{a,b}`.

Case is ignored, so that a private file is excluded however its name is spelt. For the same reason a glob of a folder also
matches everything below it, and `~/` is the user's home. A malformed glob, or one of more than 512 characters, matches nothing and
is reported.

Nothing is tried twice: a set of positions in the path goes through the glob's tokens, each of which moves all positions at once
(Cameron et al., "Bitwise Data Parallelism in Regular Expression Matching", PACT 2014). So the time grows with both lengths, and no
glob explodes. A set is an integer whose bit i says that what has been read of the glob can match the path's first i characters. Wherever in
the path a glob may begin, it begins at once, so it is read once. The work of all globs is counted, and ends at a limit: the file then
counts as excluded.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

from green_code.bounded_cache import BoundedCache

CHARACTERS_AT_MOST: Final = 512
_DEPTH_AT_MOST: Final = 20
"""Of braces within braces."""
_PATH_CHARACTERS_AT_MOST: Final = 1 << 15
"""No system has a longer path."""
WORK_AT_MOST: Final = 256 * CHARACTERS_AT_MOST
"""Steps for one path, or what takes as long: one for each character that the setting's globs can have."""
_STEP_CHARACTERS: Final = 4096
"""A step moves so many positions; in a longer path it counts as several."""
_CACHED_BYTES: Final = 4 << 20

# A part that is `**` alone stands for any number of parts, as at the beginning, after a slash, or in braces.
_TOKEN: Final = re.compile(r"(?<![^/{,])\*\*/|\*\*|\[.[^\]]*\]|.", re.DOTALL)
_RANGE: Final = re.compile(r"(.)-(.)|(.)", re.DOTALL)


class TooMuchWork(Exception):
    """The globs are too many and too long for this path."""


class Positions:
    """A path, as the sets of positions before each of its characters."""

    def __init__(self, path: str) -> None:
        self.work = 0
        """That was done for this path."""
        self._a_step = 1 + len(path) // _STEP_CHARACTERS
        self.end = 1 << len(path)
        self.all = self.end - 1
        self._before: dict[str, int] = {}
        for index, character in enumerate(path):
            self._before[character] = self._before.get(character, 0) | 1 << index
        self._before_any_case: dict[str, int] = {}
        for character, at in self._before.items():
            folded = _folded(character)
            self._before_any_case[folded] = self._before_any_case.get(folded, 0) | at
        self.slashes = self._before.get("/", 0)
        self.names = self.all ^ self.slashes

    def count(self, work: int | None = None) -> None:
        """Count work that is about to be done, a step's if no other. Raises TooMuchWork where it would be over the limit."""
        work = self._a_step if work is None else work
        if self.work + work > WORK_AT_MOST:
            raise TooMuchWork
        self.work += work

    def before(self, character: str) -> int:
        """The positions before a character, in any case."""
        return self._before_any_case.get(_folded(character), 0)

    def before_any(self, is_meant: Callable[[str], bool], ranges: int) -> int:
        """The positions before characters of a kind, which so many ranges describe."""
        self.count(ranges * len(self._before))
        return functools.reduce(int.__or__, (at for character, at in self._before.items() if is_meant(character)), 0)


Step = Callable[[Positions, int], int]
"""Moves a set of positions over one token."""


class Glob:
    """A glob that is well-formed. `has_slash`: whether it says where in the path it begins."""

    def __init__(self, steps: Sequence[Step], has_slash: bool) -> None:
        self._steps, self.has_slash = steps, has_slash

    def matches(self, path: Positions, begins: int = 1) -> bool:
        """Whether it matches a path, or a folder that the path lies in, from any of these positions on. Raises TooMuchWork."""
        return bool(_walk(self._steps, path, begins) & (path.end | path.slashes))


def matching_glob(globs: Iterable[str], path: str, folders: Iterable[str]) -> str | None:
    """The first glob that matches a path, its part below a workspace folder, or (without a slash) what begins at any of its parts.

    Where this takes too much work, the glob that was being read.
    """
    usable = tuple(glob for glob in globs if len(glob) <= CHARACTERS_AT_MOST)
    return _first_match((usable, path[-_PATH_CHARACTERS_AT_MOST:], tuple(folders)))


_Asked = tuple[tuple[str, ...], str, tuple[str, ...]]


def _find_first(asked: _Asked) -> str | None:
    globs, path, folders = asked
    pure = PurePosixPath(path)
    text = str(pure).lstrip("/") if pure.name else ""
    positions, whole = Positions(text), 1
    for folder in folders:
        if text and pure.is_relative_to(folder):
            whole |= 1 << len(text) - len(str(pure.relative_to(folder)))
    parts = 1 | positions.slashes << 1
    for glob in globs:
        try:
            if (compiled := compile_glob(glob)) and compiled.matches(positions, whole if compiled.has_slash else parts):
                return glob
        except TooMuchWork:
            return glob
    return None


def _bytes_of(asked: _Asked, _: str | None) -> int:
    """At most."""
    globs, path, folders = asked
    return sum(100 + 4 * len(text) for text in (*globs, path, *folders))


_first_match: Final = BoundedCache(_find_first, _bytes_of, _CACHED_BYTES)


def compile_glob(glob: str) -> Glob | None:
    """A glob for paths and for everything below them, or None if it is malformed."""
    return _compiled(_normal(glob)) if len(glob) <= CHARACTERS_AT_MOST else None


@lru_cache(maxsize=256)
def _compiled(glob: str) -> Glob | None:
    """Of a normal glob."""
    branches: list[list[Step]] = [[]]
    open_braces: list[list[list[Step]]] = []
    try:
        for token in _TOKEN.findall(glob.lstrip("/")):
            if token == "{":
                open_braces.append(branches)
                branches = [[]]
            elif token == "}" and open_braces:
                choice, branches = functools.partial(_choose, branches), open_braces.pop()
                branches[-1].append(choice)
            elif token == "," and open_braces:
                branches.append([])
            else:
                branches[-1].append(_step(token))
            if len(open_braces) > _DEPTH_AT_MOST:
                return None
    except ValueError:
        return None
    return None if open_braces else Glob(branches[0], "/" in glob)


def _normal(glob: str) -> str:
    """The glob with forward slashes, none at its end, and the user's home in place of `~/`."""
    glob = glob.replace("\\", "/").rstrip("/")
    if glob.partition("/")[0] != "~":
        return glob
    home = os.path.expanduser("~")  # noqa: PTH111 (which raises where there is no home)
    return home.replace("\\", "/") + glob[1:]


def _step(token: str) -> Step:
    """Raises ValueError for a class of characters that is empty, or has a range that goes down."""
    if token == "**/":
        return lambda path, at: at | (_run(at, path.all) & (path.slashes << 1))
    if token == "**":
        return lambda path, at: _run(at, path.all)
    if token == "*":
        return lambda path, at: _run(at, path.names)
    if token == "?":
        return lambda path, at: (at & path.names) << 1
    if len(token) == 1:
        return lambda path, at: (at & path.before(token)) << 1
    is_meant, ranges = _class(token)
    return lambda path, at: (at & path.before_any(is_meant, ranges)) << 1


def _walk(steps: Sequence[Step], path: Positions, at: int) -> int:
    for step in steps:
        if not at:
            break
        path.count()
        at = step(path, at)
    return at


def _choose(branches: Sequence[Sequence[Step]], path: Positions, at: int) -> int:
    """Braces: what any of their branches reaches."""
    return functools.reduce(int.__or__, (_walk(steps, path, at) for steps in branches), 0)


def _run(at: int, over: int) -> int:
    """Moves over any number of characters that `over` has positions before: the sum's carry runs along them."""
    return (((at & over) + over) ^ over) | at


def _folded(character: str) -> str:
    return character.upper().lower()


def _class(token: str) -> tuple[Callable[[str], bool], int]:
    """`[abc]`, `[a-z]`, `[!a]` or `[^a]`, and how many ranges it has; none has the slash."""
    negated = token[1] in "!^"
    ranges = [(first or one, last or one) for first, last, one in _RANGE.findall(token[1 + negated : -1])]
    if not ranges or any(last < first for first, last in ranges):
        raise ValueError(token)

    def is_meant(character: str) -> bool:
        cases = [case for case in {character, character.lower(), character.upper()} if len(case) == 1]
        has = any(first <= case <= last for first, last in ranges for case in cases)
        return character != "/" and has != negated

    return is_meant, len(ranges)
