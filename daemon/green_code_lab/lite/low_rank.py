"""Training of a difference of low rank beside frozen weights (LoRA, arXiv 2106.09685): W + B A, A (R, inputs), B (outputs, R).

B begins as zeros, so that training begins at the base model. Without the differences the layer is the base model's: the teacher
needs no weights of its own.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from green_code.models.torch_decoder import Decoder


class LowRankLinear(nn.Linear):
    """A frozen linear layer with a trained difference. `rank`: R."""

    def __init__(self, frozen: nn.Linear, rank: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = frozen.in_features, frozen.out_features
        self.weight, self.bias = frozen.weight, frozen.bias
        self.down = nn.Parameter(frozen.weight.new_empty(rank, self.in_features, dtype=torch.float32))
        self.up = nn.Parameter(frozen.weight.new_empty(self.out_features, rank, dtype=torch.float32))
        self.applied = True

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        if not self.applied:
            return out
        return out + F.linear(F.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype))


def add_low_rank(decoder: Decoder, rank: int) -> None:
    """Replace the layers' matrices by those with a trained difference. Of the decoder, nothing else is trained."""
    for block in decoder.layers:
        for name, child in list(block.named_children()):
            if isinstance(child, nn.Linear):
                setattr(block, name, LowRankLinear(child, rank))


@contextlib.contextmanager
def without_low_rank(decoder: Decoder) -> Iterator[None]:
    """Within it, the decoder is the base model."""
    layers = [module for module in decoder.modules() if isinstance(module, LowRankLinear)]
    for layer in layers:
        layer.applied = False
    try:
        yield
    finally:
        for layer in layers:
            layer.applied = True


def initial(name: str, shape: torch.Size, seed: int) -> Tensor:
    """Of a difference's part, the same in every process: zeros for `up`, normal with variance 1 / inputs for `down`."""
    if name.endswith(".up"):
        return torch.zeros(shape)
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    return torch.randn(shape, generator=generator) / math.sqrt(shape[1])


def merged(base: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Trained weights by the base model's names, float32: the sums of those that have a difference of low rank, others as they are."""
    found = {}
    for name, part in trained.items():
        owner, _, kind = name.rpartition(".")
        if kind == "up":
            found[f"{owner}.weight"] = base[f"{owner}.weight"].float() + part.float() @ trained[f"{owner}.down"].float()
        elif kind != "down":
            found[name] = part
    return found
