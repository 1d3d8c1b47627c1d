"""The quantised delta: its distortion as published, saved and read again, refused where it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from green_code.models import delta as delta_module
from green_code.models.delta import Delta, dequantise, quantise, same_delta, save_delta
from green_code.problems import Problem


@pytest.mark.parametrize(("bits", "published"), [(2, 0.1175), (3, 0.03454)])  # Max 1960, table I
def test_distortion_is_that_of_the_optimal_quantiser(bits: int, published: float) -> None:
    delta = np.random.default_rng(0).standard_normal((512, 640), np.float32) * 0.01
    error = np.square(dequantise(*quantise(delta, bits), bits) - delta).mean() / np.square(delta).mean()
    assert error < published * 1.01  # a scale for each group only reduces it


@pytest.mark.parametrize("columns", [128, 80])
def test_a_saved_delta_is_read_again(tmp_path: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    base = {"m": np.zeros((8, columns), np.float32), "n": np.ones(5, np.float32)}
    adapted = {
        "m": np.random.default_rng(0).standard_normal((8, columns), np.float32),
        "n": np.ones(5, np.float32) * 1.5,
    }
    save_delta(tmp_path / "delta.safetensors", base, adapted, {"m": 3})
    delta = Delta(tmp_path / "delta.safetensors")
    assert delta.shape("m") == (8, columns) and delta.shape("n") == (5,)
    assert (delta.read("n") == 0.5).all()
    m = delta.read("m")
    assert (m * adapted["m"]).sum() > 0.97 * np.linalg.norm(m) * np.linalg.norm(adapted["m"])
    added = {name: weight.copy() for name, weight in base.items()}
    monkeypatch.setattr(delta_module, "_CHUNK", 300)  # some rows at once
    for name, weight in added.items():
        delta.add_to(name, weight)
        assert np.array_equal(weight, base[name] + delta.read(name))


def test_deltas_are_compared_by_their_contents(tmp_path: Path) -> None:
    """With nine files, as safetensors writes metadata in a random order."""
    base = {"m": np.zeros((8, 80), np.float32), "n": np.ones(5, np.float32)}
    adapted = {"m": np.random.default_rng(0).standard_normal((8, 80), np.float32), "n": np.ones(5, np.float32) * 1.5}
    files = [tmp_path / f"{i}.safetensors" for i in range(9)]
    for file in files:
        save_delta(file, base, adapted, {"m": 3})
        assert same_delta(files[0], file)
    for other, bits in (
        ({**adapted, "n": np.ones(5, np.float32)}, {"m": 3}),
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
        Delta(tmp_path / "delta.safetensors")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "delta.safetensors"
    save_delta(path, {"m": np.zeros((8, 128), np.float32)}, {"m": np.ones((8, 128), np.float32)}, {"m": 2})
    Delta(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(Problem, match="damaged"):
        Delta(path)


def test_codes_that_do_not_belong_to_their_scales_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "delta.safetensors"
    tensors = {"m:codes": np.zeros(31, np.uint8), "m:scales": np.ones((2, 1), np.float16)}  # 32 bytes would fit
    save_file(tensors, str(path), metadata={"bits": '{"m": 2}', "columns": "{}"})
    with pytest.raises(Problem, match=r"m:codes .*\(31,\), not bytes of 32"):
        Delta(path)
