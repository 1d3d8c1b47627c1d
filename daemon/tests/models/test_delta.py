"""The quantised delta: its distortion as published, saved and read again, refused where it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from green_code.models.delta import check_delta, dequantise, quantise, read_delta, same_delta, save_delta
from green_code.problems import Problem


@pytest.mark.parametrize(("bits", "published"), [(2, 0.1175), (3, 0.03454)])  # Max 1960, table I
def test_distortion_is_that_of_the_optimal_quantiser(bits: int, published: float) -> None:
    delta = torch.randn(512, 640, generator=torch.Generator().manual_seed(0)) * 0.01
    error = (dequantise(*quantise(delta, bits), bits) - delta).pow(2).mean() / delta.pow(2).mean()
    assert error < published * 1.01  # a scale for each group only reduces it


@pytest.mark.parametrize("columns", [128, 80])
def test_a_saved_delta_is_read_again(tmp_path: Path, columns: int) -> None:
    base = {"m": torch.zeros(8, columns), "n": torch.ones(5)}
    adapted = {"m": torch.randn(8, columns, generator=torch.Generator().manual_seed(0)), "n": torch.ones(5) * 1.5}
    save_delta(tmp_path / "delta.safetensors", base, adapted, {"m": 3})
    deltas = dict(read_delta(tmp_path / "delta.safetensors"))
    assert torch.equal(deltas["n"], torch.full((5,), 0.5))
    assert torch.nn.functional.cosine_similarity(deltas["m"].flatten(), adapted["m"].flatten(), 0) > 0.97


def test_deltas_are_compared_by_their_contents(tmp_path: Path) -> None:
    """With nine files, as safetensors writes metadata in a random order."""
    base = {"m": torch.zeros(8, 80), "n": torch.ones(5)}
    adapted = {"m": torch.randn(8, 80, generator=torch.Generator().manual_seed(0)), "n": torch.ones(5) * 1.5}
    files = [tmp_path / f"{i}.safetensors" for i in range(9)]
    for file in files:
        save_delta(file, base, adapted, {"m": 3})
        assert same_delta(files[0], file)
    for other, bits in (
        ({**adapted, "n": torch.ones(5)}, {"m": 3}),
        (adapted, {"m": 2}),
        ({"m": adapted["m"]}, {"m": 3}),
    ):
        save_delta(files[-1], base, other, bits)
        assert not same_delta(files[0], files[-1])


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    save_file(
        {"n:vector": np.array([np.nan], np.float16)}, str(tmp_path / "delta.safetensors"), metadata={"bits": "{}"}
    )
    with pytest.raises(Problem, match="NaN"):
        list(read_delta(tmp_path / "delta.safetensors"))
    with pytest.raises(Problem, match="NaN"):
        check_delta(tmp_path / "delta.safetensors")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "delta.safetensors"
    save_delta(path, {"m": torch.zeros(8, 128)}, {"m": torch.ones(8, 128)}, {"m": 2})
    check_delta(path)
    path.write_bytes(path.read_bytes()[:-10])
    for read in (read_delta, check_delta):
        with pytest.raises(Problem, match="damaged"):
            list(read(path) or ())


def test_codes_that_do_not_belong_to_their_scales_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "delta.safetensors"
    tensors = {"m:codes": np.zeros(31, np.uint8), "m:scales": np.ones((2, 1), np.float16)}  # 32 bytes would fit
    save_file(tensors, str(path), metadata={"bits": '{"m": 2}', "columns": "{}"})
    for read in (read_delta, check_delta):
        with pytest.raises(Problem, match="31 bytes"):
            list(read(path) or ())
