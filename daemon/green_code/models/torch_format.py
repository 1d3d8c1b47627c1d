"""Weights of the torch decoder, which runs every family on every device. It imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from green_code.models.adapters import Adapters, LinearAdapter
from green_code.models.backend import Report, Sizes, nothing_to_check
from green_code.models.bundle import KV_PROJECTIONS, LENSES
from green_code.models.config import ModelConfig
from green_code.models.shapes import weight_shapes
from green_code.models.torch_decoder import Decoder


@dataclass(frozen=True)
class TorchFormat:
    """See `WeightFormat`.

    Args:
        make_room: called before a cache takes memory of the device, with its bytes; raises where there is none.
    """

    dtype: torch.dtype
    device: str = "cpu"
    make_room: Callable[[int], None] = field(default=nothing_to_check, compare=False)

    @property
    def name(self) -> str:
        return str(self.dtype)

    def sizes(self, config: ModelConfig, adapters: Adapters) -> Sizes:
        size = sum(map(prod, weight_shapes(config).values())) * self.dtype.itemsize
        return Sizes(size, 0 if self.device.startswith("cuda") else size)

    def save(
        self,
        config: ModelConfig,
        weights: Iterable[tuple[str, np.ndarray]],
        adapters: Adapters,
        folder: Path,
        report: Report = lambda _: None,
    ) -> None:
        cast, count = dict[str, Tensor](), len(weight_shapes(config))
        for name, weight in weights:
            cast[name] = self._cast(weight)
            report(len(cast) / (count + 1))
        save_file(cast, folder / "weights.safetensors")
        for name, lenses in ((LENSES, adapters.lenses), (KV_PROJECTIONS, adapters.kv_projections)):
            parts = {
                f"{depth}:{kind}": np.ascontiguousarray(part)
                for depth, lens in lenses.items()
                for kind, part in (("matrix", lens.matrix), ("gain", lens.gain))
            }
            save_arrays(parts, folder / name)

    def open(self, config: ModelConfig, folder: Path) -> Decoder:
        lenses, projections = (_lenses(load_arrays(folder / name)) for name in (LENSES, KV_PROJECTIONS))
        adapters = Adapters(lenses=lenses, kv_projections=projections)
        try:
            return self._decoder(config, load_file(folder / "weights.safetensors", self.device), adapters)
        except RuntimeError as error:  # torch has a type of its own on a GPU, and this one on a CPU
            if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
                raise MemoryError from error
            raise

    def build(self, config: ModelConfig, weights: Mapping[str, np.ndarray], adapters: Adapters) -> Decoder:
        return self._decoder(config, {name: self._cast(w) for name, w in weights.items()}, adapters)

    def _decoder(self, config: ModelConfig, weights: dict[str, Tensor], adapters: Adapters) -> Decoder:
        decoder = Decoder.load(config, weights)
        decoder.set_lenses(adapters.lenses)
        decoder.set_kv_projections(adapters.kv_projections)
        decoder.make_room = self.make_room
        return decoder.to(self.device)

    def _cast(self, weight: np.ndarray) -> Tensor:
        return torch.from_numpy(weight).to(self.dtype).contiguous()


def as_tensors(weights: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Weights for torch, which are not copied."""
    return {name: torch.from_numpy(weight) for name, weight in weights.items()}


def _lenses(parts: Mapping[str, np.ndarray]) -> dict[int, LinearAdapter]:
    depths = {int(name.partition(":")[0]) for name in parts}
    return {depth: LinearAdapter(parts[f"{depth}:matrix"], parts[f"{depth}:gain"]) for depth in depths}
