"""Conversion in a process of its own: what it made, what it says, and that nothing is left when it is ended."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from green_code.engine import conversion
from green_code.engine.conversion import config_apart, convert_apart
from green_code.engine.loading import load_runtime
from green_code.kernels.weight_format import weight_formats
from green_code.models import catalog
from green_code.models.catalog import TINY, Found, find_model
from green_code.models.weights import open_model
from green_code.problems import Problem


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    return tmp_path


def open_tiny(progress: Callable[..., None] = lambda *_: None, **changed: Any) -> Any:
    tiny = find_model(TINY)
    found = Found(**{"name": tiny.name, "key": tiny.key, "open": tiny.open, **changed})
    return open_model(found, None, weight_formats(), progress, convert_apart)


def test_the_child_writes_what_this_process_would(cache: Path) -> None:
    shares: list[float] = []
    open_tiny(lambda _, share: shares.append(share))
    (apart,) = cache.iterdir()
    apart = apart.rename(cache / "apart")
    open_model(find_model(TINY), None, weight_formats())
    (here,) = cache.glob(f"{TINY}-*")
    assert {path.name for path in apart.iterdir()} == {path.name for path in here.iterdir()}
    for path in here.glob("*.npy"):
        assert np.array_equal(np.load(path), np.load(apart / path.name))
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)


def test_a_problem_of_the_child_is_raised_here(cache: Path) -> None:
    with pytest.raises(Problem, match="changed while it was opened") as caught:
        open_tiny(key="another")
    assert caught.value.reason == "model_damaged" and not list(cache.iterdir())


def test_the_configuration_is_read_apart(cache: Path) -> None:
    tiny = find_model(TINY)
    assert config_apart(tiny) == tiny.open().config and not list(cache.iterdir())


def test_the_engine_opens_no_checkpoint_itself(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that waits for a drive holds the interpreter, and with it all windows."""
    folder = cache / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "unknown"}')

    def opened(path: Path) -> Any:
        raise AssertionError(path)

    monkeypatch.setattr(catalog, "FolderSource", opened)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: object()
    )  # as if torch were there, which may ask for the shape
    with pytest.raises(Problem, match=r"config\.json|unknown"):
        load_runtime(str(folder), device="auto")


_HANGING = """
import os, pathlib, sys, time
from green_code.engine import conversion

def convert(found, bundle, formats, folder, progress):
    part = pathlib.Path(f"{folder}.{os.getpid()}.x")
    part.mkdir(parents=True)
    try:
        progress("half", 0.5)
        time.sleep(60)
    finally:
        part.rmdir()

conversion.convert = convert
sys.exit(conversion.main())
"""


@pytest.mark.parametrize("how", ["progress raises", "killed", "terminated"])
def test_nothing_is_left_of_a_conversion_that_is_ended(how: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_COMMAND", (sys.executable, "-c", _HANGING))

    class Unwanted(Exception):
        pass

    def progress(sentence: str, share: float) -> None:
        if sentence != "half":
            return
        assert len(list(cache.iterdir())) == 1
        (child,) = psutil.Process().children()
        if how == "progress raises":
            raise Unwanted
        child.kill() if how == "killed" else child.send_signal(signal.SIGTERM)

    messages = {"killed": "not enough memory for tiny-random", "terminated": "ended unexpectedly"}
    with pytest.raises(Unwanted if how == "progress raises" else Problem, match=messages.get(how)):
        open_tiny(progress)
    assert not list(cache.iterdir()) and not psutil.Process().children()


_PARENT = f"""
import sys
from green_code.engine import conversion
from green_code.kernels.weight_format import weight_formats
from green_code.models.catalog import find_model
from green_code.models.weights import open_model
conversion._COMMAND = (sys.executable, "-c", {_HANGING!r})
report = lambda sentence, share: print(sentence, flush=True)
open_model(find_model("{TINY}"), None, weight_formats(), report, conversion.convert_apart)
"""


def test_the_child_ends_with_its_parent(cache: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert any(line == "half\n" for line in parent.stdout)
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
    child.wait(20)
    assert not list(cache.iterdir())


def test_what_a_killed_conversion_left_is_removed_by_the_next(cache: Path) -> None:
    open_tiny()
    (folder,) = cache.iterdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    abandoned, running = (cache / f"{folder.name}.{pid}.x" for pid in (ended.pid, os.getpid()))
    for part in (abandoned, running):
        part.mkdir()
    shutil.rmtree(folder)
    open_tiny()
    assert sorted(cache.iterdir()) == sorted([folder, running])
