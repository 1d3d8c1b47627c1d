"""What a bundle adds for reading states: kept, found again, and refused where it is damaged or another model's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from green_code.models.adapters import (
    LinearAdapter,
    check_adapters,
    corrected,
    read_adapters,
    read_lenses,
    save_lenses,
)
from green_code.models.bundle import KV_PROJECTIONS, LENSES, SVD_HEAD, load_bundle, write_manifest
from green_code.models.tiny import TinySource
from green_code.problems import Problem

WIDTH = 128
CONFIG = replace(TinySource().config, width=WIDTH)
BOTH = 2 * CONFIG.kv_heads * CONFIG.head_width


def a_lens(width: int = WIDTH, outputs: int | None = None) -> LinearAdapter:
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(outputs or width, width, generator=generator)
    return LinearAdapter(matrix, torch.rand(width, generator=generator))


def a_bundle(folder: Path) -> Path:
    write_manifest(folder, {"base": {"sha256": "0"}, "exits": [2, 4], "prefill_exit": 4})
    return folder


def test_a_lens_is_kept_in_three_bits(tmp_path: Path) -> None:
    lens = a_lens()
    save_lenses(tmp_path / LENSES, {2: lens, 4: lens})
    found = read_lenses(tmp_path / LENSES)
    assert set(found) == {2, 4}
    assert torch.equal(found[4].gain, lens.gain)
    # A normal value's distortion with eight levels is .0345 (Max 1960, table I).
    distortion = (found[4].matrix - lens.matrix).pow(2).mean() / lens.matrix.pow(2).mean()
    assert float(distortion) == pytest.approx(0.0345, abs=0.005)
    assert (tmp_path / LENSES).stat().st_size < 2 * WIDTH * WIDTH


def test_a_bundle_without_parts_adds_nothing(tmp_path: Path) -> None:
    adapters = read_adapters(load_bundle(a_bundle(tmp_path)))
    assert (adapters.svd_directions, dict(adapters.lenses), dict(adapters.kv_projections)) == (None, {}, {})
    assert read_adapters(None) == adapters


def test_entries_are_those_of_all_layers_above_the_plateau(tmp_path: Path) -> None:
    entry = a_lens(outputs=BOTH)
    save_lenses(tmp_path / KV_PROJECTIONS, {5: entry, 6: entry})
    found = read_adapters(load_bundle(a_bundle(tmp_path))).kv_projections
    own = torch.randn(BOTH, WIDTH)
    assert set(found) == {5, 6}
    torch.testing.assert_close(corrected(own, found[6]), own + found[6].matrix @ torch.diag(entry.gain))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("garbage", "damaged"),
        ("nan", "damaged .it holds NaN"),
        ("half", "damaged"),
        ("narrow", "make it anew with `green-code adapt lenses`"),
        ("too deep", "make it anew with `green-code adapt lenses`"),
        ("too few entries", "not of the layers above its prefill exit"),
        ("narrow entries", "make it anew with `green-code adapt kv-projections`"),
        ("narrow screen", "make it anew with `green-code adapt svd-head`"),
    ],
)
def test_what_does_not_fit_is_refused(part: str, message: str, tmp_path: Path) -> None:
    lens = a_lens()
    if part == "garbage":
        (tmp_path / LENSES).write_bytes(b"no tensors")
    elif part == "nan":
        save_lenses(tmp_path / LENSES, {2: LinearAdapter(lens.matrix, lens.gain * float("nan"))})
    elif part == "half":
        save_file({"2:gain": lens.gain}, tmp_path / LENSES)
    elif part == "narrow":
        save_lenses(tmp_path / LENSES, {2: a_lens(64)})
    elif part == "too deep":
        save_lenses(tmp_path / LENSES, {6: lens})
    elif part == "too few entries":
        save_lenses(tmp_path / KV_PROJECTIONS, {6: a_lens(outputs=BOTH)})
    elif part == "narrow entries":
        save_lenses(tmp_path / KV_PROJECTIONS, {5: a_lens(64, BOTH), 6: a_lens(outputs=BOTH)})
    else:
        save_file({"directions": torch.ones(4, 64)}, tmp_path / SVD_HEAD)
    with pytest.raises(Problem, match=message):
        bundle = load_bundle(a_bundle(tmp_path))
        check_adapters(bundle, read_adapters(bundle), CONFIG)
