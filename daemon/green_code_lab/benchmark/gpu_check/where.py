"""The card, or the stand-in for one, and decoders on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from green_code.gpu.decoder import GpuDecoder
from green_code.gpu.graphs import CudaMachine, Machine
from green_code.gpu.packing import Part
from green_code.gpu.support import best_card
from green_code.gpu.weights import Weights
from green_code.kernels.packing import Extras
from green_code.models.config import ModelConfig
from green_code.models.device import gpu_uuid
from green_code_lab.benchmark.gpu_check.card import why_no_card
from green_code_lab.benchmark.gpu_check.stand_in import StandIn

_SPREAD = 2e-4  # of codes' scales: small enough for states to stay finite


@dataclass(frozen=True)
class Where:
    """`name`: of the card, None: the stand-in."""

    name: str | None
    machine: Callable[[], Machine]
    gpu: str | None = None

    @classmethod
    def here(cls) -> Where:
        if why_no_card() is not None:
            return cls(None, StandIn)
        device = torch.device("cuda", best_card("cuda"))
        torch.cuda.set_device(device)
        return cls(torch.cuda.get_device_name(device), partial(CudaMachine, device), gpu_uuid(device))

    @property
    def is_card(self) -> bool:
        return self.name is not None

    def shape(self, config: ModelConfig) -> ModelConfig:
        """The shape itself on a card; on the stand-in one of the same kind that takes it no time."""
        return config if self.is_card else smaller(config, 2, 64, 64)

    def decoder(
        self, config: ModelConfig, bits: int = 8, extras: Extras | None = None, dtype: torch.dtype | None = None
    ) -> GpuDecoder:
        """With weights that say nothing, made on the device."""
        machine = self.machine()
        weights = Weights.made(config, extras or Extras(), bits, partial(_drawn, machine.device))
        kind = dtype or (torch.bfloat16 if self.is_card else torch.float32)
        return GpuDecoder(weights, machine, kind, 16 if self.is_card else 64, self.gpu, self.name or "stand-in")


def smaller(config: ModelConfig, layers: int, width: int, vocabulary: int) -> ModelConfig:
    """Of the same family, with as many query heads for a key-value head, and windows that are shorter than a prompt."""
    group = min(2, config.heads // config.kv_heads)
    windows = tuple(None if w is None else 6 for w in config.windows[:layers])
    return replace(
        config, layers=layers, width=width, heads=2, kv_heads=2 // group, head_width=32, mlp_width=2 * width, vocabulary=vocabulary,
        max_positions=1024, windows=windows, ropes=config.ropes[:layers],
    )  # fmt: skip


def _drawn(device: torch.device, part: Part) -> Tensor:
    """Random codes, small scales, gains of 1."""
    if part.dtype in ("int8", "uint8"):
        low, high = (-127, 128) if part.dtype == "int8" else (0, 256)
        return torch.randint(low, high, part.shape, device=device, dtype=getattr(torch, part.dtype))
    if len(part.shape) == 1:
        return torch.ones(part.shape, device=device)
    kind: Any = getattr(torch, part.dtype)
    return (torch.randn(part.shape, device=device) * _SPREAD).to(kind)
