"""The kernel's weights in the cache of converted models, and the choice of a weight format for this machine.

All matrices are one `.npy` file. NumPy aligns its data to 64 bytes and maps it into memory. What every token reads is then copied
into large pages, where the system has them (large_pages.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from green_code.kernels.binding import Kernel, open_kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.packing import pack, unsupported_reason
from green_code.models.adapters import Adapters
from green_code.models.backend import Report, WeightFormat
from green_code.models.device import compute_device, compute_dtype
from green_code.models.families import ModelConfig
from green_code.models.weights import TorchFormat


@dataclass(frozen=True)
class KernelFormat:
    """Weights in int8, the same for all levels of the kernel."""

    kernel: Kernel
    name: str = "int8"

    def unsupported_reason(self, config: ModelConfig) -> str | None:
        return unsupported_reason(config)

    def save(
        self,
        config: ModelConfig,
        weights: Mapping[str, Tensor],
        adapters: Adapters,
        folder: Path,
        report: Report = lambda _: None,
    ) -> None:
        records, rest = pack(config, weights, adapters, report)
        np.save(folder / "records.npy", records)
        save_file({name: w.contiguous() for name, w in rest.items()}, folder / "rest.safetensors")

    def open(self, config: ModelConfig, folder: Path) -> KernelDecoder:
        try:
            records = np.load(folder / "records.npy", mmap_mode="r")
        except EOFError as error:
            raise ValueError(str(error)) from error
        return KernelDecoder(self.kernel, config, records, load_file(folder / "rest.safetensors"))

    def build(self, config: ModelConfig, weights: Mapping[str, Tensor], adapters: Adapters) -> KernelDecoder:
        return KernelDecoder(self.kernel, config, *pack(config, weights, adapters))


def weight_formats() -> Sequence[WeightFormat]:
    """The formats that this machine can serve, best first: torch's on a GPU; otherwise the kernel's where it is built, and torch's.

    Raises:
        Problem: a level of the kernel is forced that this machine does not have.
    """
    torch_format = TorchFormat(compute_dtype())
    if compute_device().type != "cpu" or (kernel := open_kernel()) is None:
        return (torch_format,)
    return (KernelFormat(kernel), torch_format)
