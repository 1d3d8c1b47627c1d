"""Globs with VS Code's syntax: `*` and `?` within a path's part, `**` across parts, `[...]` and `{a,b}`.

Case is ignored, so that a private file is excluded however its name is spelt. For the same reason a glob of a folder also
matches everything below it, and `~/` is the user's home. A malformed glob matches nothing and is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

_TOKEN: Final = re.compile(r"\*\*/|\*\*|\[.[^\]]*\]|.", re.DOTALL)
_WILDCARDS: Final = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matching_glob(globs: Iterable[str], path: str, folders: Iterable[str]) -> str | None:
    """The first glob that matches a path, its part below a workspace folder, or (without a slash) any of its parts."""
    pure = PurePosixPath(path)
    candidates = [path.lstrip("/")]
    for folder in folders:
        if pure.is_relative_to(folder):
            candidates.append(str(pure.relative_to(folder)))
    for glob in globs:
        pattern = compile_glob(glob)
        if pattern is None:
            continue
        names = candidates if "/" in _normal(glob) else [*candidates, *candidates[0].split("/")]
        if any(pattern.fullmatch(name) for name in names):
            return glob
    return None


@lru_cache(maxsize=256)
def compile_glob(glob: str) -> re.Pattern[str] | None:
    """A glob as a pattern for paths and for everything below them, or None if it is malformed."""
    try:
        return re.compile(_translate(_normal(glob).lstrip("/")) + "(?:/.*)?", re.IGNORECASE | re.DOTALL)
    except re.error:
        return None


def _normal(glob: str) -> str:
    """The glob with forward slashes, none at its end, and the user's home in place of `~/`."""
    glob = glob.replace("\\", "/").rstrip("/")
    return f"{Path.home().as_posix()}{glob[1:]}" if glob.partition("/")[0] == "~" else glob


def _translate(glob: str) -> str:
    out, depth = "", 0
    for token in _TOKEN.findall(glob):
        if token in _WILDCARDS:
            out += _WILDCARDS[token]
        elif len(token) > 1:  # a class of characters
            negated = token[1] in "!^"
            body = re.escape(token[1 + negated : -1]).replace(r"\-", "-")
            out += f"(?!/)[{'^' if negated else ''}{body}]"
        elif token == "{":
            out += "(?:"
            depth += 1
        elif token == "}" and depth:
            out += ")"
            depth -= 1
        else:
            out += "|" if token == "," and depth else re.escape(token)
    return out
