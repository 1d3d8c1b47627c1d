"""Small models with random weights, and a torch decoder that rounds as the kernel does."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from green_code.kernels.binding import HEAD_GROUP, VALUE_BLOCK, Kernel
from green_code.kernels.buffers import KernelBuffers
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.packing import head_weight, pack
from green_code.kernels.padding import Padding
from green_code.kernels.quantise import GROUP, dequantise, quantise
from green_code.models.adapters import Adapters
from green_code.models.backend import TopToken
from green_code.models.config import ModelConfig, Rope
from green_code.models.svd_head import principal_directions
from green_code.models.torch_block import Block
from green_code.models.torch_decoder import Decoder

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
# Heads of 80, as in OPT-2.7B.
OPT = ModelConfig(
    family="opt", layers=3, width=192, heads=2, kv_heads=2, head_width=80, mlp_width=640, vocabulary=90,
    norm_eps=1e-5, max_positions=256, attention_scale=80**-0.5, tied_head=True, windows=(None,) * 3,
    ropes=(None,) * 3, qkv_bias=True, attention_out_bias=True, mlp_bias=True,
)  # fmt: skip
# No width is a whole group; a layer does not rotate.
ODD = replace(
    LLAMA, width=100, heads=3, kv_heads=1, head_width=20, mlp_width=90, qkv_bias=True, mlp_bias=True,
    ropes=(Rope(5e5), None, Rope(1e4)),
)  # fmt: skip
CONFIGS = {"gemma": GEMMA, "llama": LLAMA, "many heads": MANY_HEADS, "opt of 80": OPT, "odd widths": ODD}
# So many tokens that the head is previewed in 4 bits.
PREVIEWED = {
    "gemma": replace(GEMMA, vocabulary=2000),
    "softcap": replace(GEMMA, vocabulary=2000, logit_softcap=2.0),
    "own head": replace(LLAMA, vocabulary=1501),
    "odd widths": replace(ODD, vocabulary=1700),
    "opt of 80": replace(OPT, vocabulary=1900),
}
ROWS = 150  # more than two chunks of the kernel


@functools.cache
def random_weights(config: ModelConfig) -> dict[str, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, like in Decoder(config).state_dict().items():
        drawn = torch.randn(like.shape, generator=generator)
        matrix = like.dim() > 1
        weights[name] = (drawn * like.shape[1] ** -0.5 if matrix else name.endswith("weight") + 0.2 * drawn).numpy()
    return weights


def dequantised(config: ModelConfig, weights: Mapping[str, np.ndarray], bits: int = 8) -> dict[str, np.ndarray]:
    """The weights as the kernel rounds them, in float32; those of layers have `bits`."""
    padding = Padding(config)

    def rounded(name: str, weight: np.ndarray) -> np.ndarray:
        own_bits = bits if name.startswith("layers.") else 8
        scale = np.float32(config.residual_scale if "_out." in name else 1.0)
        padded, own = padding.pad(name, weight * scale), padding.pad(name, np.ones(weight.shape, bool))
        back = dequantise(quantise(padded, own_bits), padded.shape[1], own_bits)
        return back[: len(padded)][own].reshape(weight.shape) / scale

    return {name: w if w.ndim == 1 else rounded(name, w) for name, w in weights.items()}


def holding(decoder: KernelDecoder, x: np.ndarray, capacity: int = 256) -> KernelBuffers:
    """Buffers whose first states are `x`."""
    buffers = decoder.new_buffers(capacity)
    buffers.states[: len(x)] = x
    return buffers


def decoder_for(kernel: Kernel, config: ModelConfig, bits: int = 8) -> KernelDecoder:
    return KernelDecoder(kernel, config, *_packed(config, bits))


@functools.cache
def _packed(config: ModelConfig, bits: int) -> tuple[Any, ...]:
    return pack(config, random_weights(config).items(), Adapters(), bits=bits)


def run(decoder: KernelDecoder, x: np.ndarray, cuts: Mapping[int, int] | None = None) -> tuple[np.ndarray, ...]:
    """States, keys and values of all layers over `x`, split over calls: `cuts` maps the first position of a part to the last layer of
    its first call."""
    buffers = holding(decoder, x)
    layers = decoder.config.layers
    edges = [0, *(cuts or {}), len(x)]
    for start, end in itertools.pairwise(edges):
        middle = (cuts or {}).get(start, layers)
        decoder.run_layers(1, middle, buffers, start, end)
        if middle < layers:
            decoder.run_layers(middle + 1, layers, buffers, start, end)
    return buffers.states[: len(x)], buffers.keys, buffers.values


def with_svd_head(kernel: Kernel, config: ModelConfig) -> KernelDecoder:
    return KernelDecoder(
        kernel, config, *pack(config, random_weights(config).items(), Adapters(all_directions(config)))
    )


@functools.cache
def all_directions(config: ModelConfig) -> np.ndarray:
    """For an SVD head of full rank, whose only loss is rounding."""
    head, width = random_weights(config)[head_weight(config)], config.width
    return principal_directions(lambda: iter([head]), np.eye(width), width)[: width // GROUP * GROUP]


def tops_of(decoder: KernelDecoder, x: np.ndarray, depth: int) -> list[TopToken]:
    """The top tokens of states (N, C) at a depth."""
    return decoder.top_tokens(holding(decoder, x), range(len(x)), depth)


def final_tops(decoder: KernelDecoder, x: np.ndarray) -> list[TopToken]:
    """The top tokens of states (N, C) of the last layer."""
    return tops_of(decoder, x, decoder.config.layers)


def states(config: ModelConfig) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((ROWS, config.width), np.float32)


def quantised(x: Tensor, group: int) -> Tensor:
    """`x`, quantised to ±127 in groups of its last dimension."""
    blocks = torch.nn.functional.pad(x, (0, -x.shape[-1] % group)).unflatten(-1, (-1, group))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    return ((blocks / scale.where(scale > 0, 1)).round() * scale).flatten(-2)[..., : x.shape[-1]]


class RoundedBlock(Block):
    """Attention with the kernel's quantisation: groups of a key or a query, a whole value, and blocks of weights, into which the
    values' scales are multiplied."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        assert len(q) == 1 and mask is not None
        queries, keys, values = quantised(q[0], HEAD_GROUP), quantised(k[0], HEAD_GROUP), v[0]
        shared = self.heads // self.kv_heads
        keys, values = keys.repeat_interleave(shared, 0), values.repeat_interleave(shared, 0)
        scores = queries @ keys.transpose(1, 2) * self.scale
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        scores = scores.masked_fill(~mask, -torch.inf)
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        steps = values.abs().amax(-1, keepdim=True) / 127
        scaled = torch.nn.functional.pad(weights * steps.transpose(1, 2), (0, -keys.shape[1] % VALUE_BLOCK))
        rounded = quantised(scaled, VALUE_BLOCK)[..., : keys.shape[1]]
        return (rounded @ (values / steps).round() / weights.sum(-1, keepdim=True))[None]


def rounding(decoder: Decoder) -> Decoder:
    """The torch decoder with the kernel's quantisation of activations and of attention, in float64.

    In float32, the order of a product's sums, which torch chooses by processor, would decide which way some values are rounded.
    """
    for name, module in decoder.named_modules():
        if isinstance(module, Block):
            module.__class__ = RoundedBlock
        if isinstance(module, torch.nn.Linear):
            inputs = np.ones((1, module.in_features), bool)
            own = torch.from_numpy(Padding(decoder.config).pad(name, np.repeat(inputs, module.out_features, 0))[0])
            module.register_forward_pre_hook(_rounding_hook(own))
    return decoder.double()


def _rounding_hook(own: Tensor) -> Callable[[torch.nn.Module, tuple[Tensor]], Tensor]:
    """Rounds a product's inputs, which are the `own` ones of those that the kernel has."""

    def rounded(_: torch.nn.Module, inputs: tuple[Tensor]) -> Tensor:
        padded = torch.zeros(*inputs[0].shape[:-1], len(own), dtype=inputs[0].dtype)
        padded[..., own] = inputs[0]
        return quantised(padded, GROUP)[..., own]

    return rounded
