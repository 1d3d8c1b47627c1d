"""A bundle for `tiny-random`: exits 2 and 4, a smaller vocabulary, and a delta that changes what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from green_code.models.bundle import DELTA, VOCABULARY, write_manifest
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
    write_manifest(folder, {"exits": [2, 4], "base": {"model": TINY, "sha256": "tiny-2"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GREEN_CODE_BUNDLES", str(bundles))
        yield folder
