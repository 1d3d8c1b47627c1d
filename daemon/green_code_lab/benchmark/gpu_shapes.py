"""Configurations of published models for which the GPU's launches are counted and its kernels compiled and timed, without their weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from green_code.models.config import ModelConfig, Rope
from green_code.models.rows import LIGHT, ROWS


def _config(name: str, family: str, rope: Rope | None, **others: object) -> ModelConfig:
    config = ROWS[name].shape.config()
    scale, ropes = config.head_width**-0.5, (rope,) * config.layers
    return replace(config, family=family, attention_scale=scale, ropes=ropes, **others)  # type: ignore[arg-type]


_LLAMA3 = Rope(5e5, "llama3", 32.0, 1.0, 4.0, 8192)
_QWEN = _config("qwen2.5-coder-0.5b", "qwen2", Rope(1e6), qkv_bias=True)

PAPER: Final = ("Llama-3.2-3B", "OPT-2.7B")
SHAPES: Final = {
    "Llama-3.2-3B": _config("llama-3.2-3b", "llama", _LLAMA3),
    "OPT-2.7B": _config("opt-2.7b", "opt", None, qkv_bias=True, attention_out_bias=True, mlp_bias=True),
    "Gemma 3 270M": _config(
        LIGHT, "gemma3_text", Rope(1e4), windows=tuple(None if i % 6 == 5 else 512 for i in range(18)), embedding_scale=640**0.5
    ),
    "Qwen2.5-Coder 0.5B": _QWEN,
    "Qwen3 0.6B": replace(
        _QWEN, family="qwen3", qkv_bias=False, layers=28, width=1024, heads=16, kv_heads=8, head_width=128, mlp_width=3072,
        attention_scale=128**-0.5, windows=(None,) * 28, ropes=(Rope(1e6),) * 28,
    ),
}  # fmt: skip
"""One of each family that the GPU's decoder was written for; `PAPER` are those of arXiv 2501.11006."""
