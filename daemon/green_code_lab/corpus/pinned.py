"""Lists of packages at pinned versions, so that a corpus can be made again."""

from __future__ import annotations

import re
from pathlib import Path

from green_code.problems import Problem


def pinned(text: str, path: Path, entry: re.Pattern[str], form: str) -> list[tuple[str, str]]:
    """(name, version) of each line of a list, before a comment.

    Args:
        path: of the list. entry: matches a line; its groups are name and version. form: of a line, for people.
    Raises:
        Problem: a line has another form.
    """
    packages = []
    for number, line in enumerate(text.splitlines(), 1):
        if written := line.split("#")[0].strip():
            if not (found := entry.fullmatch(written)):
                raise Problem("bad_request", f"{path.name}, line {number}: {written!r} is not `{form}`.")
            packages.append((found[1], found[2]))
    return packages
