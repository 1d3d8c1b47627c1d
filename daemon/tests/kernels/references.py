"""Small models with weights drawn at random, and the torch decoder that rounds as the kernel does."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from green_code.kernels.binding import BLOCK, PIECE, Kernel
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
    ropes=(Rope(1e4), Rope(1e4), Rope(1e6), Rope(1e4), Rope(1e4), Rope(1e6)),
)  # fmt: skip
LLAMA = ModelConfig(
    family="llama", layers=3, width=128, heads=4, kv_heads=2, head_width=32, mlp_width=192, vocabulary=77,
    norm_eps=1e-5, max_positions=4096, attention_scale=32**-0.5, tied_head=False, windows=(None,) * 3,
    ropes=(Rope(5e5),) * 3,
)  # fmt: skip
# More heads share their keys than are computed side by side.
MANY_HEADS = replace(LLAMA, heads=9, kv_heads=1, head_width=64, windows=(5, None, 20))
CONFIGS = {"gemma": GEMMA, "llama": LLAMA, "many heads": MANY_HEADS}
ROWS = 150  # more than two chunks of the kernel


def random_weights(config: ModelConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, like in Decoder(config).state_dict().items():
        drawn = torch.randn(like.shape, generator=generator)
        weights[name] = 1 + 0.2 * drawn if like.dim() == 1 else drawn * like.shape[1] ** -0.5
    return weights


def as_packed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that the kernel computes with, in float32."""
    return {
        name: w
        if w.dim() == 1
        else torch.from_numpy(dequantise(quantise(w.numpy()), w.shape[1])[: len(w)].copy())
        for name, w in weights.items()
    }


def buffers(decoder: KernelDecoder, capacity: int = 256) -> tuple[Tensor, Tensor]:
    c, widths = decoder.config, decoder.cache_widths
    keys, values = (torch.zeros(c.layers, c.kv_heads, capacity, w, dtype=torch.uint8) for w in widths)
    return keys, values


def made(kernel: Kernel, config: ModelConfig) -> KernelDecoder:
    return KernelDecoder(kernel, config, *pack(config, random_weights(config), Adapters()))


def run(decoder: KernelDecoder, x: Tensor, cuts: Mapping[int, int] | None = None) -> tuple[Tensor, ...]:
    """All layers over `x`, in parts: `cuts` maps a position to cut at to a layer to cut at."""
    x, (keys, values) = x.clone(), buffers(decoder)
    layers = decoder.config.layers
    edges = [0, *(cuts or {}), len(x)]
    for start, end in itertools.pairwise(edges):
        middle = (cuts or {}).get(start, layers)
        decoder.run_layers(1, middle, x, start, end, keys, values)
        if middle < layers:
            decoder.run_layers(middle + 1, layers, x, start, end, keys, values)
    return x, keys, values


def with_screen(kernel: Kernel, config: ModelConfig) -> KernelDecoder:
    """Of all directions, so that nothing is lost but to rounding."""
    weights = random_weights(config)
    everything = principal_directions(weights["embed.weight"], torch.eye(config.width).double(), config.width)
    return KernelDecoder(kernel, config, *pack(config, weights, Adapters(everything)))


def looked(decoder: KernelDecoder, x: Tensor) -> list[TopToken]:
    """What the head says of last layer's states (N, C)."""
    return decoder.top_tokens(x, 0, len(x), decoder.config.layers)


def states(config: ModelConfig) -> Tensor:
    return torch.randn(ROWS, config.width, generator=torch.Generator().manual_seed(1))


def in_groups(x: Tensor, group: int) -> Tensor:
    """`x`, rounded to 127 steps to either side in groups of its last dimension."""
    blocks = x.unflatten(-1, (-1, group))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    return ((blocks / scale.where(scale > 0, 1)).round() * scale).flatten(-2)


class RoundedBlock(Block):
    """Attention as the kernel rounds it: keys and queries in pieces, a value as a whole, and weights, with the values'
    scales in them, in blocks of positions."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        assert len(q) == 1 and mask is not None
        queries, keys, values = in_groups(q[0], PIECE), in_groups(k[0], PIECE), v[0]
        shared = self.heads // self.kv_heads
        keys, values = keys.repeat_interleave(shared, 0), values.repeat_interleave(shared, 0)
        scores = (queries @ keys.transpose(1, 2) * self.scale).masked_fill(~mask, -torch.inf)
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        steps = values.abs().amax(-1, keepdim=True) / 127
        scaled = torch.nn.functional.pad(weights * steps.transpose(1, 2), (0, -keys.shape[1] % BLOCK))
        rounded = in_groups(scaled, BLOCK)[..., : keys.shape[1]]
        return (rounded @ (values / steps).round() / weights.sum(-1, keepdim=True))[None]


def rounding(decoder: Decoder) -> Decoder:
    """The torch decoder, rounding as the kernel does: products' inputs in groups to 8 bits, and attention."""
    for block in decoder.layers:
        block.__class__ = RoundedBlock
    for module in decoder.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, inputs: in_groups(inputs[0], GROUP))
    return decoder
