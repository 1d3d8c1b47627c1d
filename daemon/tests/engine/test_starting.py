"""What an engine imports before it listens: no later import can fail for want of memory and leave a compiled module broken."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from green_code import folders
from green_code.link.discovery import place

DAEMON = str(Path(__file__).resolve().parents[2])
COMPLETES = f"""
import sys
from green_code.engine.process import import_loader
from green_code.engine.requests import completion_params
load = import_loader()
before = set(sys.modules)
runtime = load("tiny-random", lambda *_: None, "cpu", lambda _: None)
runtime.new_session().complete(completion_params("def add(first, second):\\n    ret", model="tiny-random"), lambda: None)
while runtime.costs_assumed:
    runtime.measure_costs(lambda: False)
files = {{name: getattr(sys.modules[name], "__file__", None) or "" for name in sys.modules.keys() - before}}
late = [name for name, file in files.items() if file.endswith({tuple(EXTENSION_SUFFIXES)})]
assert not late, late
"""
FAILS = """
import sys
from importlib.abc import MetaPathFinder
class Scarce(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "numpy._core._multiarray_umath":
            raise MemoryError
sys.meta_path.insert(0, Scarce())
from green_code.cli import main
sys.exit(main(["engine"]))
"""


@pytest.fixture(autouse=True)
def folders_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (folders.RUNTIME_VARIABLE, "GREEN_CODE_DATA_DIR", "GREEN_CODE_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))


def run(program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": DAEMON}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def test_no_compiled_module_is_imported_after_the_loader() -> None:
    ended = run(COMPLETES)
    assert ended.returncode == 0, ended.stderr


def test_an_engine_that_cannot_import_what_it_needs_ends_with_a_sentence() -> None:
    ended = run(FAILS)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("green-code: The engine cannot import what it needs (MemoryError")
    assert ended.stderr.count("\n") == 1
    assert "MemoryError" in place().log_path.read_text("utf-8")
    assert not Path(place().address).exists()
