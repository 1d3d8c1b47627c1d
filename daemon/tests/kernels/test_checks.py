"""Arguments with which the kernel would read or write outside of its buffers are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from green_code.kernels.binding import Kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.packing import pack
from green_code.models.adapters import Adapters
from tests.kernels.references import GEMMA, buffers, decoder_for, random_weights


def test_bounds_are_checked(kernels: dict[str, Kernel]) -> None:
    decoder = decoder_for(next(iter(kernels.values())), GEMMA)
    keys, values = buffers(decoder, 64)
    x = torch.zeros(8, GEMMA.width)
    of_layers, of_states = "layers {} … {}, positions {} … {} of 64", "positions {2} … {3} of 80"
    ranges = (
        ((0, 2, 0, 8), of_layers), ((1, 7, 0, 8), of_layers), ((3, 2, 0, 8), of_layers), ((1, 2, 57, 65), of_layers),
        ((1, 2, -1, 7), of_states), ((1, 2, 7, 6), of_states),
    )  # fmt: skip
    for (first, last, start, stop), message in ranges:
        named = message.format(first, last, start, stop - 1)
        with pytest.raises(ValueError, match=named):
            decoder.run_layers(first, last, torch.zeros(80, GEMMA.width), start, stop, keys, values)
        with pytest.raises(ValueError, match=named):
            decoder.project_kv(first, last, torch.zeros(80, GEMMA.width), start, stop, keys, values, True)
    with pytest.raises(ValueError, match="positions 2 … 8 of 8"):
        decoder.run_layers(1, 2, x, 2, 9, keys, values)
    for wrong in (x.double(), torch.zeros(GEMMA.width, 8).T):
        with pytest.raises(ValueError, match="contiguous on the CPU"):
            decoder.run_layers(1, 2, wrong, 0, 8, keys, values)
        with pytest.raises(ValueError, match="contiguous on the CPU"):
            decoder.embed_into(wrong, 0, [1])
        with pytest.raises(ValueError, match="contiguous on the CPU"):
            decoder.top_tokens(wrong, 0, 1, 2)
    with pytest.raises(ValueError, match="contiguous"):
        decoder.run_layers(1, 2, x, 0, 8, keys.float(), values)
    with pytest.raises(ValueError, match="multiple of 32"):
        decoder.run_layers(1, 2, x, 0, 8, *buffers(decoder, 48))
    with pytest.raises(ValueError, match="another model"):
        decoder.run_layers(1, 2, x, 0, 8, values, keys)
    with pytest.raises(ValueError, match="another model"):
        decoder.run_layers(1, 2, torch.zeros(8, 64), 0, 8, keys, values)
    for start, tokens in ((7, [1, 2]), (-1, [1])):
        with pytest.raises(ValueError, match="positions"):
            decoder.embed_into(x, start, tokens)
    for start, stop in ((0, 9), (-1, 1), (5, 4)):
        with pytest.raises(ValueError, match="positions"):
            decoder.top_tokens(x, start, stop, 2)
    for token in (-1, GEMMA.vocabulary):
        with pytest.raises(ValueError, match="tokens must be"):
            decoder.embed_into(x, 0, [token])
    with pytest.raises(ValueError, match="float32"):
        decoder.logits(torch.zeros(8, 64))


def test_weights_are_checked(kernels: dict[str, Kernel]) -> None:
    kernel, weights = next(iter(kernels.values())), random_weights(GEMMA)
    gain = "layers.2.mlp_norm.weight"
    missing = {name: weight for name, weight in weights.items() if name != gain}
    for wrong in (missing, {**weights, gain: np.ones(8, np.float32)}, {**weights, "more": np.ones(8, np.float32)}):
        with pytest.raises(ValueError, match=r"missing|no weight"):
            pack(GEMMA, wrong.items(), Adapters())
    records, rows, rest = pack(GEMMA, weights.items(), Adapters())
    for cut in (records[:-1], records[None], records[::2]):
        with pytest.raises(ValueError, match="records"):
            KernelDecoder(kernel, GEMMA, cut, rows, rest)
    with pytest.raises(ValueError, match="gains"):
        KernelDecoder(kernel, GEMMA, records, rows, {**rest, gain: np.ones(8, np.float32)})
