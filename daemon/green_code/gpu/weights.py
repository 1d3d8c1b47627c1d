"""Packed weights on a device, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from green_code.gpu.packing import Part, layout
from green_code.kernels.packing import Extras
from green_code.kernels.quantise import GROUP, NIBBLE_GROUP
from green_code.models.config import ModelConfig

_TYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "int8": torch.int8, "uint8": torch.uint8}


@dataclass(frozen=True)
class DeviceMatrix:
    """See `packing.Matrix`. Where a matrix has no scales or minima, `codes` stands for them and is not read as such."""

    outputs: int
    inputs: int
    bits: int
    codes: Tensor
    scales: Tensor
    minima: Tensor

    def rows(self, first: int) -> DeviceMatrix:
        """The outputs from `first` on."""
        parts = (self.codes[first:], self.scales[first:], self.minima[first:])
        return DeviceMatrix(self.outputs - first, self.inputs, self.bits, *parts)

    def values(self, rows: slice | Tensor) -> Tensor:
        """Some rows in float32, (N, inputs)."""
        codes = self.codes[rows]
        if self.bits == 4:
            pairs = codes.view(len(codes), -1, NIBBLE_GROUP)
            whole = torch.stack((pairs & 15, pairs >> 4), 2).view(len(codes), -1, NIBBLE_GROUP).float()
            scaled = whole * self.scales[rows][..., None].float() + self.minima[rows][..., None].float()
            return scaled.view(len(codes), -1)
        if self.bits == 8:
            groups = codes.view(len(codes), -1, GROUP).float()
            return (groups * self.scales[rows][..., None].float()).view(len(codes), -1)
        return codes.float()


@dataclass(frozen=True)
class Weights:
    """All that a decoder reads."""

    config: ModelConfig
    extras: Extras
    bits: int
    matrices: Mapping[str, DeviceMatrix]
    tables: Mapping[str, Tensor]
    vectors: Mapping[str, Tensor]
    nbytes: int

    @classmethod
    def of(cls, config: ModelConfig, extras: Extras, bits: int, data: np.ndarray, device: str) -> Weights:
        """
        Args:
            data: of `packing.pack`; it is copied to the device part by part.
        Raises:
            ValueError: it is of another configuration.
        """
        placed = layout(config, extras, bits)
        if data.shape != (placed.nbytes,) or data.dtype != np.uint8:
            raise ValueError(f"{data.shape} bytes are not of a {config.family} of this configuration")

        def tensor(part: Part) -> Tensor:
            raw = np.array(data[part.offset : part.offset + part.nbytes])  # not read-only as a mapping is
            return torch.from_numpy(raw).view(_TYPES[part.dtype]).view(part.shape).to(device)

        return cls.made(config, extras, bits, tensor)

    @classmethod
    def planned(cls, config: ModelConfig, extras: Extras, bits: int) -> Weights:
        """Without memory, on torch's "meta" device: to count launches and bytes."""

        def tensor(part: Part) -> Tensor:
            return torch.empty(part.shape, dtype=_TYPES[part.dtype], device="meta")

        return cls.made(config, extras, bits, tensor)

    @classmethod
    def made(cls, config: ModelConfig, extras: Extras, bits: int, tensor: Callable[[Part], Tensor]) -> Weights:
        """`tensor` makes each part."""
        placed = layout(config, extras, bits)

        def matrix(name: str) -> DeviceMatrix:
            m = placed.matrices[name]
            parts = [tensor(part) for part in m.parts]
            parts += parts[-1:] * (3 - len(parts))
            return DeviceMatrix(m.outputs, m.inputs, m.bits, *parts)

        return cls(
            config,
            extras,
            bits,
            {name: matrix(name) for name in placed.matrices},
            {name: tensor(part) for name, part in placed.tables.items()},
            {name: tensor(part) for name, part in placed.vectors.items()},
            placed.nbytes,
        )
