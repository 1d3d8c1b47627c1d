"""Small models with random weights: the GPU's decoder on the stand-in, and the torch decoder with the same, dequantised weights."""

from __future__ import annotations

import numpy as np
import torch

from green_code.gpu.decoder import GpuDecoder
from green_code.gpu.packing import pack
from green_code.gpu.weights import Weights
from green_code.models.adapters import Adapters
from green_code.models.config import ModelConfig, Rope
from green_code.models.shapes import weight_shapes
from green_code_lab.benchmark.gpu_check.stand_in import StandIn

_BASE = ModelConfig(
    family="llama", layers=2, width=64, heads=4, kv_heads=2, head_width=16, mlp_width=96, vocabulary=90,
    norm_eps=1e-5, max_positions=2048, attention_scale=0.25, tied_head=False, windows=(None, None), ropes=(Rope(5e5), Rope(5e5)),
)  # fmt: skip


def _like(family: str, **sizes: object) -> ModelConfig:
    return ModelConfig(**{**{f: getattr(_BASE, f) for f in _BASE.__dataclass_fields__}, "family": family, **sizes})  # type: ignore[arg-type]


CONFIGS = {
    "llama": _like("llama", ropes=(Rope(5e5, "llama3", 8.0, 1.0, 4.0, 64),) * 2),
    # Learned positions, standardised norms, biases, no gate, heads that are no power of two.
    "opt": _like(
        "opt", width=80, heads=4, kv_heads=4, head_width=20, mlp_width=160, tied_head=True, ropes=(None, None), qkv_bias=True,
        attention_out_bias=True, mlp_bias=True,
    ),
    # Windows shorter than the text, norms of queries, keys and outputs, another base in each layer.
    "gemma3": _like(
        "gemma3_text", width=48, kv_heads=1, tied_head=True, windows=(5, None), ropes=(Rope(1e4), Rope(1e6, "linear", 8.0)),
        embedding_scale=7.0, norm_eps=1e-6,
    ),
    "qwen2": _like("qwen2", qkv_bias=True, tied_head=True),
    "qwen3": _like("qwen3", head_width=32),
    "gemma2": _like("gemma2", windows=(6, None), attention_softcap=2.0, logit_softcap=3.0, tied_head=True),
    "granite": _like("granite", residual_scale=0.22, logit_scale=0.125, embedding_scale=12.0),
    "phi3": _like("phi3", rotary_width=8, windows=(6, 6)),
    "gpt2": _like("gpt2", kv_heads=4, ropes=(None, None), qkv_bias=True, attention_out_bias=True, mlp_bias=True, tied_head=True),
}  # fmt: skip


def random_weights(config: ModelConfig, spread: float = 0.15) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        middle = 1.0 if len(shape) == 1 and name.endswith("norm.weight") else 0.0
        return generator.normal(middle, spread, shape).astype(np.float32)

    return {name: draw(name, shape) for name, shape in weight_shapes(config).items()}


def gpu_decoder(
    config: ModelConfig,
    weights: dict[str, np.ndarray],
    bits: int,
    adapters: Adapters = Adapters(),  # noqa: B008
    dtype: torch.dtype = torch.float32,
) -> GpuDecoder:
    """On a stand-in of its own; blocks of 64 outputs, for each takes the interpreter as long as one of 16."""
    data, extras = pack(config, weights.items(), adapters, bits)
    return GpuDecoder(Weights.of(config, extras, bits, data, "cpu"), StandIn(), dtype, block=64)  # type: ignore[arg-type]
