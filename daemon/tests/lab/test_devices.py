"""`--device`: every command between rollouts and the Pareto curve computes on one device, and without a word on that of rollouts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from green_code.engine import loading
from green_code.engine.interfaces import DeviceProblem
from green_code.models.bundle import write_manifest
from green_code.models.catalog import TINY
from green_code.models.tiny import TinySource
from green_code.settings import TABLE
from green_code_lab.cli import evaluate, experiments, train, train_stops
from green_code_lab.devices import open_on
from green_code_lab.evaluation import parallel

COMMANDS: dict[str, tuple[ModuleType, ModuleType, str, list[str]]] = {
    "rollouts": (train, train, "open_on", ["rollouts"]),
    "agent": (train, train, "open_on", ["agent"]),
    "calibrate": (train, train, "load_measured", ["calibrate"]),
    "records": (train, train_stops, "load_measured", ["records"]),
    "stops": (train, train_stops, "load_measured", ["stops"]),
    "evaluate": (evaluate, evaluate, "load_measured", ["--data", "rows.jsonl"]),
    "paper": (experiments, experiments, "load_measured", ["paper"]),
}


class Loaded(Exception):
    pass


@pytest.fixture
def device_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """On which device a command loads its model."""
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / TINY).mkdir()
    write_manifest(tmp_path / TINY, {"exits": [2], "base": {"model": TINY, "sha256": TinySource().fingerprint()}})
    (tmp_path / "rows.jsonl").write_text(
        '{"id": "1", "language": "python", "prefix": "x", "suffix": "", "reference": "1"}\n'
    )

    def found(name: str, *words: str) -> str:
        command, module, loader, own = COMMANDS[name]
        devices = list[str]()

        def load(*given: Any, device: str = "") -> None:
            devices.append(given[0] if loader == "open_on" else device or given[2])
            raise Loaded

        monkeypatch.setattr(module, loader, load)
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        with pytest.raises(Loaded):
            command.run(parser.parse_args([*own, "--model", TINY, *words]))
        return devices[0]

    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_model_computes_where_it_is_asked_to(
    name: str, device_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device_of(name) == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of(name) == "cuda" and device_of(name, "--device", "cpu") == "cpu"
    (setting,) = (setting for setting in TABLE if setting.name == "device")
    assert setting.enum is not None
    assert [device_of(name, "--device", word) for word in setting.enum] == list(setting.enum)


def test_a_device_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    for load in (lambda: loading.load_measured(TINY, device="mps"), lambda: open_on("mps", TINY, None)):
        with pytest.raises(DeviceProblem, match="mps cannot be used"):
            load()
    assert open_on("auto", TINY, None).decoder.gpu is None


def test_a_worker_computes_where_its_parent_does(monkeypatch: pytest.MonkeyPatch) -> None:
    devices, shares = list[str](), parallel.multiprocessing.get_context("spawn").SimpleQueue()
    shares.put([])
    monkeypatch.setattr(parallel, "load_measured", lambda model, device: devices.append(device))
    parallel._open(TINY, "cuda", shares)
    assert devices == ["cuda"]
