"""Small models with random weights, and a torch decoder that rounds as the kernel does."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from green_code.kernels.binding import HEAD_GROUP, VALUE_BLOCK, Kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.packing import pack
from green_code.kernels.quantise import GROUP, dequantise, quantise
from green_code.models.adapters import Adapters
from green_code.models.backend import TopToken
from green_code.models.decoder import Block, Decoder
from green_code.models.families import ModelConfig, Rope
from green_code.models.svd_head import principal_directions

GEMMA = ModelConfig(
    family="gemma3_text", layers=6, width=192, heads=3, kv_heads=1, head_width=64, mlp_width=384, vocabulary=131,
    norm_eps=1e-6, max_positions=4096, attention_scale=0.2, tied_head=True, windows=(7, 7, None, 7, 7, None),
    ropes=(Rope(1e4), Rope(1e4), Rope(1e6), Rope(1e4), Rope(1e4), Rope(1e6)), embedding_scale=192**0.5,
)  # fmt: skip
LLAMA = ModelConfig(
    family="llama", layers=3, width=128, heads=4, kv_heads=2, head_width=32, mlp_width=192, vocabulary=77,
    norm_eps=1e-5, max_positions=4096, attention_scale=32**-0.5, tied_head=False, windows=(None,) * 3,
    ropes=(Rope(5e5),) * 3,
)  # fmt: skip
# More heads share a KV head than the kernel computes side by side.
MANY_HEADS = replace(LLAMA, heads=9, kv_heads=1, head_width=64, windows=(5, None, 20))
CONFIGS = {"gemma": GEMMA, "llama": LLAMA, "many heads": MANY_HEADS}
ROWS = 150  # more than two chunks of the kernel


@functools.cache
def random_weights(config: ModelConfig) -> dict[str, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, like in Decoder(config).state_dict().items():
        drawn = torch.randn(like.shape, generator=generator)
        weights[name] = (1 + 0.2 * drawn if like.dim() == 1 else drawn * like.shape[1] ** -0.5).numpy()
    return weights


def dequantised(weights: Mapping[str, np.ndarray], bits: int = 8) -> dict[str, np.ndarray]:
    """The weights as the kernel rounds them, in float32; those of layers have `bits`."""

    def rounded(name: str, weight: np.ndarray) -> np.ndarray:
        own = bits if name.startswith("layers.") else 8
        return dequantise(quantise(weight, own), weight.shape[1], own)[: len(weight)].copy()

    return {name: weight if weight.ndim == 1 else rounded(name, weight) for name, weight in weights.items()}


def buffers(decoder: KernelDecoder, capacity: int = 256) -> tuple[Tensor, Tensor]:
    c, widths = decoder.config, decoder.cache_widths
    keys, values = (torch.zeros(c.layers, c.kv_heads, capacity, w, dtype=torch.uint8) for w in widths)
    return keys, values


def decoder_for(kernel: Kernel, config: ModelConfig, bits: int = 8) -> KernelDecoder:
    return KernelDecoder(kernel, config, *_packed(config, bits))


@functools.cache
def _packed(config: ModelConfig, bits: int) -> tuple[Any, ...]:
    return pack(config, random_weights(config).items(), Adapters(), bits=bits)


def run(decoder: KernelDecoder, x: Tensor, cuts: Mapping[int, int] | None = None) -> tuple[Tensor, ...]:
    """States, keys and values of all layers over `x`, split over calls: `cuts` maps the first position of a part to the last layer of
    its first call."""
    x, (keys, values) = x.clone(), buffers(decoder)
    layers = decoder.config.layers
    edges = [0, *(cuts or {}), len(x)]
    for start, end in itertools.pairwise(edges):
        middle = (cuts or {}).get(start, layers)
        decoder.run_layers(1, middle, x, start, end, keys, values)
        if middle < layers:
            decoder.run_layers(middle + 1, layers, x, start, end, keys, values)
    return x, keys, values


def with_svd_head(kernel: Kernel, config: ModelConfig) -> KernelDecoder:
    return KernelDecoder(
        kernel, config, *pack(config, random_weights(config).items(), Adapters(all_directions(config)))
    )


@functools.cache
def all_directions(config: ModelConfig) -> np.ndarray:
    """For an SVD head of full rank, whose only loss is rounding."""
    head, width = random_weights(config)["embed.weight"], config.width
    return principal_directions(lambda: iter([head]), np.eye(width), width)


def final_tops(decoder: KernelDecoder, x: Tensor) -> list[TopToken]:
    """The top tokens of states (N, C) of the last layer."""
    return decoder.top_tokens(x, 0, len(x), decoder.config.layers)


def states(config: ModelConfig) -> Tensor:
    return torch.randn(ROWS, config.width, generator=torch.Generator().manual_seed(1))


def quantised(x: Tensor, group: int) -> Tensor:
    """`x`, quantised to ±127 in groups of its last dimension."""
    blocks = x.unflatten(-1, (-1, group))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    return ((blocks / scale.where(scale > 0, 1)).round() * scale).flatten(-2)


class RoundedBlock(Block):
    """Attention with the kernel's quantisation: groups of a key or a query, a whole value, and blocks of weights, into which the
    values' scales are multiplied."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        assert len(q) == 1 and mask is not None
        queries, keys, values = quantised(q[0], HEAD_GROUP), quantised(k[0], HEAD_GROUP), v[0]
        shared = self.heads // self.kv_heads
        keys, values = keys.repeat_interleave(shared, 0), values.repeat_interleave(shared, 0)
        scores = (queries @ keys.transpose(1, 2) * self.scale).masked_fill(~mask, -torch.inf)
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        steps = values.abs().amax(-1, keepdim=True) / 127
        scaled = torch.nn.functional.pad(weights * steps.transpose(1, 2), (0, -keys.shape[1] % VALUE_BLOCK))
        rounded = quantised(scaled, VALUE_BLOCK)[..., : keys.shape[1]]
        return (rounded @ (values / steps).round() / weights.sum(-1, keepdim=True))[None]


def rounding(decoder: Decoder) -> Decoder:
    """The torch decoder with the kernel's quantisation of activations and of attention."""
    for block in decoder.layers:
        block.__class__ = RoundedBlock
    for module in decoder.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, inputs: quantised(inputs[0], GROUP))
    return decoder
