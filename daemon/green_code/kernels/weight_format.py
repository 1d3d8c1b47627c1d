"""The kernel's weights in the cache of converted models, and the choice of a weight format for this machine.

All matrices are one `.npy` file, and the embedding is another. NumPy aligns their data to 64 bytes and maps them into memory. What
every token reads is then copied into large pages, where the system has them (large_pages.py); of the embedding few rows are read.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from green_code.kernels.binding import Kernel, open_kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.packing import Extras, pack, packed_sizes
from green_code.kernels.weight_bits import bits_for
from green_code.models.adapters import Adapters
from green_code.models.backend import Report, Sizes, WeightFormat, nothing_to_check
from green_code.models.config import ModelConfig
from green_code.models.npy_file import NpyFile, mapped
from green_code.problems import Problem

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KernelFormat:
    """Weights of 8 or 4 bits, the same for all levels of the kernel. `bits`: forced, to compare them; None: see weight_bits.py."""

    kernel: Kernel
    name: str = "kernel"
    device: str = "cpu"
    bits: int | None = None

    def sizes(self, config: ModelConfig, adapters: Adapters) -> Sizes:
        return packed_sizes(config, Extras.of(adapters), self._bits(config))

    def save(
        self,
        config: ModelConfig,
        weights: Iterable[tuple[str, np.ndarray]],
        adapters: Adapters,
        folder: Path,
        report: Report = lambda _: None,
    ) -> None:
        with contextlib.ExitStack() as stack:

            def create(name: str, shape: tuple[int, ...], dtype: Any) -> NpyFile:
                return stack.enter_context(contextlib.closing(NpyFile(folder / f"{name}.npy", shape, dtype)))

            _, _, rest = pack(config, weights, adapters, create, report, self._bits(config))
        save_file({name: np.ascontiguousarray(array) for name, array in rest.items()}, folder / "rest.safetensors")

    def open(self, config: ModelConfig, folder: Path) -> KernelDecoder:
        tables = {path.stem: mapped(path) for path in folder.glob("*.npy")}
        return KernelDecoder(self.kernel, config, tables.pop("records"), tables, load_file(folder / "rest.safetensors"))

    def build(self, config: ModelConfig, weights: Mapping[str, np.ndarray], adapters: Adapters) -> KernelDecoder:
        return KernelDecoder(self.kernel, config, *pack(config, weights.items(), adapters, bits=self._bits(config)))  # type: ignore[arg-type]

    def _bits(self, config: ModelConfig) -> int:
        return bits_for(config) if self.bits is None else self.bits


@dataclass(frozen=True)
class MachineFormats:
    """The formats that serve on a device ("cpu", "cuda", "mps"), best first: the kernel's on a processor where it is built, those of the
    GPU's kernels where they serve, then torch's. torch is imported where its format is asked for.

    Args:
        card: the number of the GPU, where there are several.
    Iterating raises:
        Problem: a level of the kernel is forced that this machine does not have; torch is needed and missing.
    """

    device: str = "cpu"
    card: int = 0

    def __iter__(self) -> Iterator[WeightFormat]:
        kernel = open_kernel()
        if kernel is not None and self.device == "cpu":
            yield KernelFormat(kernel)
        try:
            from green_code.models.device import compute_dtype
            from green_code.models.torch_format import TorchFormat
        except (ImportError, OSError) as error:
            needs = "the kernel is not built, and torch is not installed"
            raise Problem("model_missing", f"{needs}: pip install 'green-code[gpu]'.") from error
        yield from self._for_gpu()
        device = self.device if self.card == 0 else f"{self.device}:{self.card}"
        yield TorchFormat(compute_dtype(device), device, self._make_room)

    @property
    def _make_room(self) -> Callable[[int], None]:
        if self.device != "cuda":
            return nothing_to_check
        from green_code.gpu.support import check_room

        return partial(check_room, self.card)

    def _for_gpu(self) -> Iterator[WeightFormat]:
        from green_code.gpu.support import why_torch

        if self.device == "cpu":
            return
        if (why := why_torch(self.device, self.card)) is not None:
            log.info("torch decodes: %s", why)
            return
        from green_code.gpu.weight_format import GpuFormat

        for bits in (8, 4):
            yield GpuFormat(bits, card=self.card, make_room=self._make_room)


def weight_formats(device: str = "cpu", card: int = 0) -> Iterable[WeightFormat]:
    """See `MachineFormats`."""
    return MachineFormats(device, card)
