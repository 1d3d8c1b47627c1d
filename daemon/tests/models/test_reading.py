"""What a bundle adds to the head: kept, found again, and refused where it is damaged or another model's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from green_code.models.bundle import LENSES, SCREEN, load_bundle, write_manifest
from green_code.models.reading import Lens, bundled_reading, read_lenses, save_lenses
from green_code.problems import Problem

WIDTH = 128


def a_lens(width: int = WIDTH) -> Lens:
    generator = torch.Generator().manual_seed(3)
    return Lens(torch.randn(width, width, generator=generator), torch.rand(width, generator=generator))


def a_bundle(folder: Path) -> Path:
    write_manifest(folder, {"base": {"sha256": "0"}, "exits": [2, 4]})
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
    reading = bundled_reading(load_bundle(a_bundle(tmp_path)), WIDTH, 6)
    assert (reading.directions, dict(reading.lenses)) == (None, {})
    assert bundled_reading(None, WIDTH, 6) == reading


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("garbage", "damaged"),
        ("nan", "damaged .it holds NaN"),
        ("half", "damaged"),
        ("narrow", "make it anew with `green-code adapt lenses`"),
        ("too deep", "make it anew with `green-code adapt lenses`"),
        ("narrow screen", "make it anew with `green-code adapt screen`"),
    ],
)
def test_what_does_not_fit_is_refused(part: str, message: str, tmp_path: Path) -> None:
    lens = a_lens()
    if part == "garbage":
        (tmp_path / LENSES).write_bytes(b"no tensors")
    elif part == "nan":
        save_lenses(tmp_path / LENSES, {2: Lens(lens.matrix, lens.gain * float("nan"))})
    elif part == "half":
        save_file({"2:gain": lens.gain}, tmp_path / LENSES)
    elif part == "narrow":
        save_lenses(tmp_path / LENSES, {2: a_lens(64)})
    elif part == "too deep":
        save_lenses(tmp_path / LENSES, {6: lens})
    else:
        save_file({"directions": torch.ones(4, 64)}, tmp_path / SCREEN)
    with pytest.raises(Problem, match=message):
        bundled_reading(load_bundle(a_bundle(tmp_path)), WIDTH, 6)
