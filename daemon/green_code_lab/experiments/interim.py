"""What an experiment has measured so far, in a file from which a run that was ended goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Interim:
    """JSON values by name, a line each, written as they come.

    Args:
        path: of the file; names must tell apart whatever results depend on, since other runs write it as well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text("utf-8").splitlines() if path.exists() else ()
        self._values: dict[str, Any] = dict(map(json.loads, lines))

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([name, value]) + "\n")
