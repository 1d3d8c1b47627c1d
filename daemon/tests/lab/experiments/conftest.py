"""A bundle for `tiny-random`: exits 2 and 4, a smaller vocabulary, a delta that changes what it decodes, and an agent."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from green_code.energy.costs import CostModel
from green_code.engine import loading
from green_code.engine.loading import Runtime, load_measured
from green_code.models.bundle import AGENT, DELTA, VOCABULARY, write_manifest
from green_code.models.catalog import TINY
from green_code.models.tiny import TinySource
from green_code.work import Prices
from green_code_lab.cli import experiments
from tests.decoding.networks import exit_classifier

WORDS = 360  # of tiny's vocabulary; the last ones are left out
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="package", autouse=True)
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the agent's random weights choose does not matter here."""
    folder = tmp_path_factory.mktemp("bundles") / TINY
    folder.mkdir()
    save_file({"ids": np.arange(WORDS)}, str(folder / VOCABULARY))
    shift = np.random.default_rng(0).normal(0, 2, TinySource().config.width).astype(np.float16)
    save_file({"layers.0.mlp_norm.weight:vector": shift}, str(folder / DELTA))
    exit_classifier(TinySource().config.width, (2, 4)).save(folder / AGENT)
    base = {"model": TINY, "sha256": TinySource().fingerprint()}
    write_manifest(folder, {"exits": [2, 4], "prefill_exit": 1, "base": base})
    prices = Prices(1e-3, 2e-4, 1e-4, 2e-3, 1e-4, 1e-4, 5e-5)
    costs = CostModel(prices, "estimate", "estimate: not measured", 0.0, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "measured_costs", lambda *_: costs)
        patch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GREEN_CODE_BUNDLES", str(folder.parent))
        yield folder


@pytest.fixture
def runtime() -> Runtime:
    """A new one: experiments change its exits."""
    return load_measured(TINY)


@pytest.fixture(scope="package")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows a language, of prompts that are long enough to be propagated."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    prefix = "".join(f"value_{i} = {i}\n" for i in range(10)) + "total = "
    rows = [
        {"id": f"{language}-{i}", "language": language, "prefix": prefix, "suffix": "", "reference": f"{i}"}
        for language in ("python", "java")
        for i in range(2)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="package")
def run() -> Run:
    """`green-code experiments NAME --model tiny-random` with more words, into a folder: the data of record."""

    def run(name: str, folder: Path, *words: object) -> dict[str, Any]:
        parser = argparse.ArgumentParser()
        experiments.add_arguments(parser)
        command = [name, "--model", TINY, "--out", folder, *words]
        assert experiments.run(parser.parse_args(list(map(str, command)))) == 0
        found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
        return found

    return run
