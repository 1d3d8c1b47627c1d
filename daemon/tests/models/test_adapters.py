"""A bundle's adapters: saved and read again; refused where they are damaged or made for another model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from green_code.models.adapters import (
    LENS_BITS,
    PROJECTION_BITS,
    LinearAdapter,
    check_adapters,
    read_adapter_file,
    read_adapters,
    save_adapters,
    with_adapter,
)
from green_code.models.bundle import KV_PROJECTIONS, LENSES, SVD_HEAD, load_bundle, write_manifest
from green_code.models.tiny import TinySource
from green_code.problems import Problem

WIDTH = 128
CONFIG = replace(TinySource().config, width=WIDTH)
KV_WIDTH = 2 * CONFIG.kv_heads * CONFIG.head_width


def random_adapter(width: int = WIDTH, outputs: int | None = None) -> LinearAdapter:
    generator = np.random.default_rng(3)
    matrix = generator.standard_normal((outputs or width, width), np.float32)
    return LinearAdapter(matrix, generator.random(width, np.float32))


def new_bundle(folder: Path) -> Path:
    write_manifest(folder, {"base": {"model": "any", "sha256": "0" * 64}, "exits": [2, 4], "prefill_exit": 4})
    return folder


@pytest.mark.parametrize(("bits", "wanted"), [(PROJECTION_BITS, 0.0345), (LENS_BITS, 0.0)])
def test_values_are_saved_in_few_bits(bits: int, wanted: float, tmp_path: Path) -> None:
    lens = random_adapter()
    save_adapters(tmp_path / LENSES, {2: lens, 4: lens}, bits)
    read = read_adapter_file(tmp_path / LENSES)
    assert set(read) == {2, 4}
    assert np.array_equal(read[4].gain, lens.gain)
    # Eight levels give normally distributed values a distortion of .0345 (Max 1960, table I), 256 one of √3π/2 / 256².
    distortion = np.square(read[4].matrix - lens.matrix).mean() / np.square(lens.matrix).mean()
    assert float(distortion) == pytest.approx(wanted, abs=0.005 if wanted else 1e-4)
    assert (tmp_path / LENSES).stat().st_size < 2 * WIDTH * WIDTH * bits / 3


def test_a_bundle_without_files_has_no_adapters(tmp_path: Path) -> None:
    adapters = read_adapters(load_bundle(new_bundle(tmp_path)))
    assert (adapters.svd_directions, dict(adapters.lenses), dict(adapters.kv_projections)) == (None, {}, {})
    assert read_adapters(None) == adapters


def test_every_layer_above_the_prefill_exit_has_a_kv_projection(tmp_path: Path) -> None:
    adapter = random_adapter(outputs=KV_WIDTH)
    save_adapters(tmp_path / KV_PROJECTIONS, {5: adapter, 6: adapter}, PROJECTION_BITS)
    read = read_adapters(load_bundle(new_bundle(tmp_path))).kv_projections
    own = np.random.default_rng(0).standard_normal((KV_WIDTH, WIDTH), np.float32)
    assert set(read) == {5, 6}
    np.testing.assert_allclose(with_adapter(own, read[6]), own + read[6].matrix @ np.diag(adapter.gain), 1e-5)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no tensors", "damaged"),
        ("NaN", "damaged .2:gain holds NaN"),
        ("no matrix", "damaged"),
        ("narrow lens", "make it anew with `green-code adapt exits`"),
        ("lens too deep", "make it anew with `green-code adapt exits`"),
        ("too few KV projections", "not of the layers above its prefill exit"),
        ("narrow KV projection", "make it anew with `green-code adapt kv-projections`"),
        ("narrow SVD head", "make it anew with `green-code adapt svd-head`"),
        ("SVD head of too many directions", "damaged .it has 129 directions of 128"),
    ],
)
def test_damaged_and_unfit_adapters_are_refused(damage: str, message: str, tmp_path: Path) -> None:
    lens = random_adapter()
    if damage == "no tensors":
        (tmp_path / LENSES).write_bytes(b"no tensors")
    elif damage == "NaN":
        save_adapters(tmp_path / LENSES, {2: LinearAdapter(lens.matrix, lens.gain * float("nan"))}, LENS_BITS)
    elif damage == "no matrix":
        save_file({"2:gain": lens.gain}, tmp_path / LENSES)
    elif damage == "narrow lens":
        save_adapters(tmp_path / LENSES, {2: random_adapter(64)}, LENS_BITS)
    elif damage == "lens too deep":
        save_adapters(tmp_path / LENSES, {6: lens}, LENS_BITS)
    elif damage == "too few KV projections":
        save_adapters(tmp_path / KV_PROJECTIONS, {6: random_adapter(outputs=KV_WIDTH)}, PROJECTION_BITS)
    elif damage == "narrow KV projection":
        save_adapters(
            tmp_path / KV_PROJECTIONS,
            {5: random_adapter(64, KV_WIDTH), 6: random_adapter(outputs=KV_WIDTH)},
            PROJECTION_BITS,
        )
    else:
        shape = (4, 64) if damage == "narrow SVD head" else (CONFIG.width + 1, CONFIG.width)
        save_file({"directions": np.ones(shape, np.float32)}, tmp_path / SVD_HEAD)
    with pytest.raises(Problem, match=message):
        bundle = load_bundle(new_bundle(tmp_path))
        check_adapters(bundle, read_adapters(bundle), CONFIG)
