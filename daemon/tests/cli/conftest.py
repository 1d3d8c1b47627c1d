"""Fixtures of the command line's tests: private folders, a fake engine, and a call of the command line."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import green_code
from green_code import cli
from green_code.cli.engine import stop_engine
from green_code.link.discovery import ensure_engine, place
from green_code.problems import Problem

FAKE = Path(__file__).resolve().parents[1] / "engine" / "fake_runtime.py"


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder; all of green-code's folders are in it."""
    for name in ("RUNTIME_DIR", "DATA_DIR", "CACHE_DIR", "BUNDLES"):
        monkeypatch.setenv(f"GREEN_CODE_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("PYTHONPATH", str(Path(green_code.__file__).resolve().parents[1]))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    with contextlib.suppress(Problem):
        asyncio.run(stop_engine())


@pytest.fixture
def fake_engine() -> None:
    """A running engine around the fake model."""

    async def start() -> None:
        await (await ensure_engine(place(), command=(sys.executable, str(FAKE)))).close()

    asyncio.run(start())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command: exit status, standard output, standard error."""

    def command(*arguments: str) -> tuple[int, str, str]:
        status = cli.main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command
