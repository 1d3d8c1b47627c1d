"""Arguments with which the kernel would read or write outside of its buffers are refused."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from green_code.kernels.binding import CThreadPool, Kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.exit_classifier import exit_probability_function
from green_code.kernels.packing import pack
from green_code.models.adapters import Adapters
from green_code.models.backend import TopToken
from green_code.models.torch_decoder import TorchBuffers
from tests.decoding.networks import exit_classifier
from tests.kernels.references import (
    GEMMA,
    LLAMA,
    ROWS,
    all_directions,
    decoder_for,
    holding,
    random_weights,
    states,
    with_svd_head,
)


def test_bounds_are_checked(kernels: dict[str, Kernel]) -> None:
    kernel = next(iter(kernels.values()))
    decoder = decoder_for(kernel, GEMMA)
    buffers, some = decoder.new_buffers(60), np.arange(3, dtype=np.int32)
    assert buffers.capacity == 64, "whole blocks"
    of_layers, of_states = "layers {} … {} of 6", "positions {2} … {3} of 64"
    ranges = (
        ((0, 2, 0, 8), of_layers), ((1, 7, 0, 8), of_layers), ((3, 2, 0, 8), of_layers), ((1, 2, 57, 65), of_states),
        ((1, 2, -1, 7), of_states), ((1, 2, 7, 6), of_states),
    )  # fmt: skip
    for (first, last, start, stop), message in ranges:
        named = message.format(first, last, start, stop - 1)
        with pytest.raises(ValueError, match=named):
            decoder.run_layers(first, last, buffers, start, stop)
        with pytest.raises(ValueError, match=named):
            decoder.project_kv(first, last, buffers, start, stop, True)
    other_model = decoder_for(kernel, LLAMA).new_buffers(64)
    for others in (other_model, TorchBuffers(GEMMA, torch.zeros(1), 64)):
        for call in (
            lambda others: decoder.run_layers(1, 2, others, 0, 8),
            lambda others: decoder.project_kv(1, 2, others, 0, 8, True),
            lambda others: decoder.embed_into(others, 0, [1]),
            lambda others: decoder.top_tokens(others, (0,), 2),
            lambda others: decoder.top_token_among(others, 0, 2, some),
            lambda others: decoder.state(others, 0),
            lambda others: decoder.states(others, 0, 1),
        ):
            with pytest.raises(ValueError, match="another model"):
                call(others)
    for start, tokens in ((63, [1, 2]), (-1, [1])):
        with pytest.raises(ValueError, match="positions"):
            decoder.embed_into(buffers, start, tokens)
    for positions in (range(65), (-1,), (64,)):
        with pytest.raises(ValueError, match="positions"):
            decoder.top_tokens(buffers, positions, 2)
    for token in (-1, GEMMA.vocabulary):
        with pytest.raises(ValueError, match="tokens must be"):
            decoder.embed_into(buffers, 0, [token])
    for wrong in (np.zeros((8, 64), np.float32), np.zeros((8, GEMMA.width))):
        with pytest.raises(ValueError, match="float32"):
            decoder.logits(wrong)


def refuse(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="out of bounds"):
        call()


def test_the_kernel_itself_trusts_no_size(kernels: dict[str, Kernel]) -> None:
    """As a file could give them, if Python did not look: each is refused, and nothing is touched."""
    kernel = next(iter(kernels.values()))
    decoder = decoder_for(kernel, GEMMA)
    svd = with_svd_head(kernel, GEMMA)
    buffers = holding(decoder, states(GEMMA))

    def run(decoder: KernelDecoder = decoder) -> None:
        decoder.run_layers(1, GEMMA.layers, buffers, 0, 8)

    def read(decoder: KernelDecoder) -> Callable[[], object]:
        return lambda: decoder.top_tokens(buffers, range(8), GEMMA.layers)

    layer, scratch = decoder._layers[2], decoder._scratch.structure
    wrong: list[tuple[Any, str, tuple[Any, ...], Callable[[], object]]] = [
        (decoder._model, "layer_count", (0, 5, -1), run),
        (decoder._model, "width", (0, -64, 65, 128, 256, 1 << 30), run),
        (decoder._model, "heads", (0, -1, 4, 1 << 30), run),
        (decoder._model, "kv_heads", (0, -1, 2, 3, 8), run),
        (decoder._model, "head_width", (0, 33, 128, -64, 1 << 30), run),
        (decoder._model, "mlp_width", (0, 320, 448, 1 << 30), run),
        (decoder._model, "true_width", (0, 193, -1), run),
        (decoder._model, "rotary_width", (0, 63, 66, -2), run),
        (decoder._model, "activation", (-1, 4), run),
        (layer, "window", (-1, -5), run),
        (layer, "cosines", (None,), run),
        *((matrix, "records", (None,), run) for matrix in (layer.qkv, layer.mlp_out)),
        *((matrix, "bits", (0, 5, 16), run) for matrix in (layer.qkv, layer.mlp_in)),
        *((matrix, size, (0, -64, 65, 64, 4096), run) for matrix in (layer.qkv, layer.mlp_in) for size in ("outputs", "inputs")),
        (scratch, "inputs", (0, 64), run),
        (scratch, "outputs", (0, 1000), run),
        (scratch, "positions", (0, 4, 33), run),
        (decoder._head, "tokens", (0, -1, 200, 1 << 30), read(decoder)),
        (decoder._head.preview, "inputs", (64, 2_048, 10_048), read(decoder)),
        (svd._head.preview, "inputs", (0, 65, 2_048, 10_048), read(svd)),
        (svd._head, "rows", (None,), read(svd)),
    ]  # fmt: skip
    for structure, name, values, call in wrong:
        call()
        own = getattr(structure, name)
        for value in values:
            setattr(structure, name, value)
            refuse(call)
        setattr(structure, name, own)
    arguments = decoder._arguments(1, GEMMA.layers, buffers, 0, 8)
    for at, others in (
        (1, (-1, 6)),
        (2, (0, 7)),
        (3, (None,)),
        (4, (-1, 249)),
        (5, (-1, 257)),
        (6, (None,)),
        (8, (0, 8, 33)),
    ):
        for other in others:
            refuse(lambda at=at, other=other: kernel.run_layers(*arguments[:at], other, *arguments[at + 1 :], None))
            refuse(lambda at=at, other=other: kernel.project_kv(*arguments[:at], other, *arguments[at + 1 :], True))
    pool = CThreadPool(workers=1_000)
    refuse(lambda: kernel.run_layers(*arguments, pool))
    for token in (-1, GEMMA.vocabulary):
        ids = (ctypes.c_int32 * 1)(token)
        refuse(lambda ids=ids: kernel.embed(decoder._model, decoder._embed, None, ids, 1, 1.0, arguments[3]))
    for width in (0, 33, -32):
        refuse(lambda width=width: kernel.key_bytes(width))
    classify = exit_probability_function(decoder, exit_classifier(GEMMA.width, (1, 2)).parameters_for_decoder())
    assert classify is not None
    for index in (-1, 2):
        refuse(lambda index=index: classify(buffers, 0, 1, TopToken(0, 0.5, 0.5), index))
    run()


def test_growing_keeps_the_content(kernels: dict[str, Kernel]) -> None:
    """At the same places within a position's block, whatever they hold."""
    decoder = decoder_for(next(iter(kernels.values())), GEMMA)
    grown, whole = holding(decoder, states(GEMMA), 160), holding(decoder, states(GEMMA), 512)
    for buffers in (grown, whole):
        decoder.run_layers(1, GEMMA.layers, buffers, 0, ROWS)
        grown.grow(512)
        buffers.states[ROWS : ROWS + 3] = 1
        decoder.run_layers(1, GEMMA.layers, buffers, ROWS, ROWS + 3)
    assert grown.nbytes == whole.nbytes and grown.capacity == 512
    for one, other in ((grown.states, whole.states), (grown.keys, whole.keys), (grown.values, whole.values)):
        assert np.array_equal(one, other) and one.ctypes.data % 64 == 0


def test_a_prompt_of_a_large_model_can_be_interrupted(
    kernels: dict[str, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call takes fewer layers, the larger they and the batch are; a token is still one call."""
    decoder = decoder_for(next(iter(kernels.values())), GEMMA)
    assert decoder.layers_at_once(1) >= decoder.layers_at_once(decoder.rows_at_once) > GEMMA.layers
    monkeypatch.setattr(decoder, "_layer_weights", 15_000_000)  # Qwen2.5-Coder 0.5B has 24 layers
    assert decoder.layers_at_once(1) >= 24 > decoder.layers_at_once(decoder.rows_at_once) > 1
    monkeypatch.setattr(decoder, "_layer_weights", 1_000_000_000)
    assert decoder.layers_at_once(decoder.rows_at_once) == 1


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
    with pytest.raises(ValueError, match="gains"):
        KernelDecoder(kernel, GEMMA, records, {name: np.asfortranarray(table) for name, table in rows.items()}, rest)


def test_an_svd_head_is_checked(kernels: dict[str, Kernel]) -> None:
    kernel, weights = next(iter(kernels.values())), random_weights(GEMMA)
    records, rows, rest = pack(GEMMA, weights.items(), Adapters(all_directions(GEMMA)))
    (name,) = (name for name in rest if name.startswith("svd_head"))
    for wrong in (rest[name].astype(np.float16), np.asfortranarray(rest[name]), rest[name][:, :-1]):
        with pytest.raises(ValueError, match="gains"):
            KernelDecoder(kernel, GEMMA, records, rows, {**rest, name: wrong})
    many = np.ones((GEMMA.width * 4, GEMMA.width), np.float32)
    with pytest.raises(ValueError, match="gains"):
        KernelDecoder(kernel, GEMMA, *pack(GEMMA, weights.items(), Adapters(many)))
