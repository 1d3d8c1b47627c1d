"""The examples run as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tour_of_the_python_api(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "daemon"),
        "GREEN_CODE_CACHE_DIR": str(tmp_path / "cache"),
        "GREEN_CODE_BUNDLES": str(tmp_path / "bundles"),
    }
    command = [sys.executable, str(ROOT / "examples" / "complete.py"), "tiny-random"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    lines = output.splitlines()
    assert [line.split()[0] for line in lines] == ["full", "exact", "fast"]
    assert all(" J (" in line for line in lines)
