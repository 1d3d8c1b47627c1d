"""The GPU's weights in the cache of converted models."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from green_code.gpu.decoder import GpuDecoder
from green_code.gpu.graphs import CudaMachine, Machine
from green_code.gpu.packing import layout, pack
from green_code.gpu.weights import Weights
from green_code.kernels.packing import Extras
from green_code.models.adapters import Adapters
from green_code.models.backend import Report, Sizes, nothing_to_check
from green_code.models.config import ModelConfig
from green_code.models.device import gpu_uuid
from green_code.models.npy_file import NpyFile, mapped


@dataclass(frozen=True)
class GpuFormat:
    """Weights in 8, 4 or 16 bits on a CUDA device.

    Args:
        card: its number. make_room: see `GpuDecoder`.
    """

    bits: int = 8
    device: str = "cuda"
    card: int = 0
    make_room: Callable[[int], None] = field(default=nothing_to_check, compare=False)

    @property
    def name(self) -> str:
        return f"gpu-{self.bits}"

    def sizes(self, config: ModelConfig, adapters: Adapters) -> Sizes:
        """Of the memory, the host's, which holds one part at a time."""
        return Sizes(layout(config, Extras.of(adapters), self.bits).nbytes, 0)

    def save(
        self,
        config: ModelConfig,
        weights: Iterable[tuple[str, np.ndarray]],
        adapters: Adapters,
        folder: Path,
        report: Report = lambda _: None,
    ) -> None:
        with contextlib.ExitStack() as stack:

            def create(size: int) -> NpyFile:
                return stack.enter_context(contextlib.closing(NpyFile(folder / "weights.npy", (size,), np.uint8)))

            _, extras = pack(config, weights, adapters, self.bits, create, report)
        kept = {"lenses": extras.lenses, "kv_projections": extras.kv_projections, "rank": (extras.rank,)}
        save_file({name: np.array(values, np.int32) for name, values in kept.items()}, folder / "extras.safetensors")

    def open(self, config: ModelConfig, folder: Path) -> GpuDecoder:
        kept = {name: values.tolist() for name, values in load_file(folder / "extras.safetensors").items()}
        extras = Extras(tuple(kept["lenses"]), tuple(kept["kv_projections"]), *kept["rank"])
        return self._decoder(config, extras, mapped(folder / "weights.npy"))

    def build(self, config: ModelConfig, weights: Mapping[str, np.ndarray], adapters: Adapters) -> GpuDecoder:
        data, extras = pack(config, weights.items(), adapters, self.bits)
        return self._decoder(config, extras, np.asarray(data))

    def _decoder(self, config: ModelConfig, extras: Extras, data: np.ndarray) -> GpuDecoder:
        self.make_room(data.nbytes)
        machine, dtype, gpu, name = self._machine()
        try:
            weights = Weights.of(config, extras, self.bits, data, str(machine.device))
            return GpuDecoder(weights, machine, dtype, gpu=gpu, name=name, make_room=self.make_room)
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise MemoryError(str(error)) from error

    def _machine(self) -> tuple[Machine, torch.dtype, str | None, str]:
        device = torch.device("cuda", self.card)
        return CudaMachine(device), torch.bfloat16, gpu_uuid(device), torch.cuda.get_device_name(device)
