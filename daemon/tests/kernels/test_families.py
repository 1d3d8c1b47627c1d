"""Every family on the kernel against transformers, within the rounding of 8 bits."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from green_code.decoding.kv_cache import KVCache
from green_code.kernels.binding import Kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.packing import pack
from green_code.models.adapters import Adapters
from green_code.models.config import ModelConfig
from tests.models.references import FAMILY_MODELS, family_model, logits_at_all_depths, ours

TOKENS = [(7 * i * i + 3) % 97 for i in range(45)]  # more than a block of keys, more than the windows
MOST_ERROR = 0.1  # of logits, relative; the torch decoder with rounded activations has up to 0.06


@functools.cache
def packed(name: str) -> tuple[ModelConfig, tuple[Any, ...]]:
    decoder = ours(family_model(name))
    weights = ((name, weight.numpy()) for name, weight in decoder.state_dict().items())
    return decoder.config, pack(decoder.config, weights, Adapters())


@functools.cache
def expected(name: str) -> list[torch.Tensor]:
    return logits_at_all_depths(name, TOKENS)


def error(found: Any, wanted: torch.Tensor) -> float:
    return float((torch.as_tensor(found) - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("name", FAMILY_MODELS)
def test_each_exit_of_each_step_is_that_of_transformers(name: str, kernels: dict[str, Kernel]) -> None:
    config, weights = packed(name)
    for level, kernel in kernels.items():
        decoder = KernelDecoder(kernel, config, *weights)
        cache = KVCache(decoder)
        for position, token in enumerate(TOKENS):
            cache.append([token])
            depth = 1 + 3 * position % config.layers  # lower positions are filled when a later one goes deeper
            for at in {depth, config.layers} if position % 5 == 4 else {depth}:
                cache.advance(position, at)
                logits = decoder.all_logits(cache.buffers, position, position + 1, at)[0]
                assert error(logits, expected(name)[at - 1][position]) < 2 * MOST_ERROR, (level, position, at)


@pytest.mark.parametrize("name", FAMILY_MODELS)
def test_a_prompt_is_that_of_transformers(name: str, kernels: dict[str, Kernel]) -> None:
    config, weights = packed(name)
    for level, kernel in kernels.items():
        decoder = KernelDecoder(kernel, config, *weights)
        cache = KVCache(decoder)
        cache.append(TOKENS)
        for depth in range(1, config.layers + 1):
            cache.advance(len(TOKENS) - 1, depth, 0)
            logits = decoder.all_logits(cache.buffers, 0, len(TOKENS), depth)
            assert error(logits, expected(name)[depth - 1]) < MOST_ERROR, (level, depth)
