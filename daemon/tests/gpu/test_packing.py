"""Weights are those of the processor's kernel in another order, streamed, and refused where they are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from green_code.gpu import weight_format
from green_code.gpu.decoder import GpuDecoder
from green_code.gpu.packing import coded, layout, pack
from green_code.gpu.weight_format import GpuFormat
from green_code.gpu.weights import DeviceMatrix
from green_code.kernels.packing import Extras
from green_code.kernels.quantise import dequantise, quantise
from green_code.models.adapters import Adapters
from green_code.models.catalog import TINY, find_model
from green_code.models.torch_format import TorchFormat
from green_code.models.weights import open_model
from green_code_lab.benchmark.gpu_check.stand_in import StandIn
from tests.gpu.references import CONFIGS, random_weights

LLAMA = CONFIGS["llama"]


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_stand_for_the_kernels_values(bits: int) -> None:
    weight = np.random.default_rng(0).normal(0, 0.1, (70, 192)).astype(np.float32)
    weight[3, 64:128] = 0
    parts = [torch.from_numpy(part) for part in coded(weight, bits)]
    codes, *scales = [part if i == 0 else part.view(torch.bfloat16) for i, part in enumerate(parts)]
    matrix = DeviceMatrix(70, 192, bits, codes, scales[0], scales[-1])
    expected = dequantise(quantise(weight, bits), 192, bits)[:70]
    assert np.array_equal(matrix.values(slice(None)).numpy(), expected)
    assert np.array_equal(matrix.rows(9).values(slice(2, 4)).numpy(), expected[11:13])


class StandInFormat(GpuFormat):
    def _machine(self):  # type: ignore[no-untyped-def]
        return StandIn(), torch.float32, None, "stand-in"


def test_saved_weights_are_those_that_are_built(tmp_path: Path) -> None:
    weights, kind = random_weights(LLAMA), StandInFormat(8)
    taken: list[str] = []

    def stream():  # type: ignore[no-untyped-def]
        for name, weight in weights.items():
            taken.append(name)
            yield name, weight

    shares: list[float] = []
    kind.save(LLAMA, stream(), Adapters(), tmp_path, shares.append)
    assert shares == sorted(shares) and shares[-1] == 1 and taken == list(weights)
    opened, built = kind.open(LLAMA, tmp_path), kind.build(LLAMA, weights, Adapters())
    assert isinstance(opened, GpuDecoder)
    for name, matrix in opened.weights.matrices.items():
        assert torch.equal(matrix.codes, built.weights.matrices[name].codes), name
    assert kind.sizes(LLAMA, Adapters()).disk == layout(LLAMA, Extras(), 8).nbytes
    size = (tmp_path / "weights.npy").stat().st_size
    with (tmp_path / "weights.npy").open("r+b") as file:
        file.truncate(size - 300)
    with pytest.raises(ValueError):
        kind.open(LLAMA, tmp_path)


def test_weights_that_live_on_a_card_take_no_memory_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    asked = list[int]()
    open_model(find_model(TINY), None, [StandInFormat(8)], make_room=asked.append)
    assert asked == [0]
    opened = open_model(find_model(TINY), None, [TorchFormat(torch.float32)], make_room=asked.append)
    assert asked[1] == 4 * sum(weight.numel() for weight in opened.decoder.parameters())  # type: ignore[attr-defined]
    assert TorchFormat(torch.float32, "cuda:1").sizes(LLAMA, Adapters()).memory == 0


def test_a_missing_or_foreign_weight_is_refused() -> None:
    weights = random_weights(LLAMA)
    with pytest.raises(ValueError, match=r"norm\.weight is missing"):
        pack(LLAMA, ((n, w) for n, w in weights.items() if n != "norm.weight"), Adapters(), 8)
    with pytest.raises(ValueError, match="no weight of a llama"):
        pack(LLAMA, [("norm.weight", np.zeros(7, np.float32))], Adapters(), 8)


def test_a_device_without_room_is_not_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(size: int) -> None:
        raise MemoryError(f"{size} bytes")

    monkeypatch.setattr(weight_format.Weights, "of", None)  # nothing is copied
    with pytest.raises(MemoryError):
        StandInFormat(8, make_room=full).build(LLAMA, random_weights(LLAMA), Adapters())
