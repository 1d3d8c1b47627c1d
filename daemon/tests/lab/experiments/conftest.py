"""A bundle for `tiny-random`: exits 2 and 4, a smaller vocabulary, and a delta that changes what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as torch_save_file

from green_code.decoding.exit_classifier import ExitClassifier
from green_code.models.bundle import AGENT, DELTA, VOCABULARY, refresh_manifest, write_manifest
from green_code.models.catalog import TINY
from green_code.models.tiny import TinySource

WORDS = 360  # of tiny's vocabulary; the last ones are left out


@pytest.fixture(scope="package", autouse=True)
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    bundles = tmp_path_factory.mktemp("bundles")
    folder = bundles / TINY
    folder.mkdir()
    save_file({"ids": np.arange(WORDS)}, str(folder / VOCABULARY))
    shift = np.random.default_rng(0).normal(0, 2, TinySource().config.width).astype(np.float16)
    save_file({"layers.0.mlp_norm.weight:vector": shift}, str(folder / DELTA))
    write_manifest(folder, {"exits": [2, 4], "base": {"model": TINY, "sha256": "tiny-3"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GREEN_CODE_BUNDLES", str(bundles))
        yield folder


@pytest.fixture(scope="module")
def with_agent(tiny_bundle: Path) -> Iterator[None]:
    """An agent of random weights in the bundle: what it chooses does not matter here."""
    torch.manual_seed(0)
    network = ExitClassifier(TinySource().config.width, (2, 4))
    torch_save_file(network.state_dict(), str(tiny_bundle / AGENT), metadata=network.save_metadata())
    refresh_manifest(tiny_bundle)
    yield
    (tiny_bundle / AGENT).unlink()
    refresh_manifest(tiny_bundle)


@pytest.fixture(scope="package")
def small_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of three rows a language."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = [
        {
            "id": f"{language}-{i}",
            "language": language,
            "prefix": f"x{i} = ",
            "suffix": "",
            "reference": f"{i}",
        }
        for language in ("python", "java")
        for i in range(3)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
