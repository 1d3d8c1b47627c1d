"""A processor that the kernel runs on needs neither torch nor transformers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DAEMON = str(Path(__file__).resolve().parents[2])
PROGRAM = """
import json, sys
sys.modules.update({name: None for name in sys.argv[2:]})  # to import them raises
from green_code.cli import main
from green_code.engine import process, service
status = main(["complete", "-", "--model", "tiny-random", "--no-engine", "--json"])
with open(sys.argv[1], "w") as file:
    json.dump([name for name in ("torch", "transformers") if sys.modules.get(name) is not None], file)
sys.exit(status)
"""


def complete(tmp_path: Path, *blocked: str) -> tuple[str, str]:
    """What a completion by the tiny model prints, and which of the two its process has loaded then."""
    folders = {f"GREEN_CODE_{name}_DIR": str(tmp_path) for name in ("CACHE", "DATA", "RUNTIME")}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "loaded"), *blocked],
        env={**os.environ, **folders, "PYTHONPATH": DAEMON},
        input="def add(first, second):\n    ret",
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, (tmp_path / "loaded").read_text()


def test_the_engines_modules_load_neither_and_complete_without_both(tmp_path: Path) -> None:
    for blocked in ((), ("torch", "transformers")):
        printed, loaded = complete(tmp_path, *blocked)
        assert '"tokens"' in printed and loaded == "[]"
