"""One position of each of several caches in a call of the kernel: the same bits as each alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.kernels.decoder import KernelDecoder
from green_code_lab.evaluation.kernel_rows import RowsDecoder
from tests.engine.sessions import tiny_runtime
from tests.examples import examples


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with tiny_runtime(tmp_path_factory.mktemp("tiny")) as runtime:
        assert isinstance(runtime.decoder, KernelDecoder)
        yield RowsDecoder(runtime.decoder)


def filled(decoder: KernelDecoder, tokens: list[int], capacity: int) -> Any:
    """Buffers whose last position waits below all layers."""
    buffers = decoder.new_buffers(capacity)
    decoder.embed_into(buffers, 0, tokens)
    if len(tokens) > 1:
        decoder.run_layers(1, decoder.config.layers, buffers, 0, len(tokens) - 1)
    return buffers


@examples(25)
@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=7),
    pieces=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_rows_of_several_caches_are_those_of_each_alone(
    decoder: Any, lengths: list[int], pieces: list[int], seed: int
) -> None:
    generator, layers = np.random.default_rng(seed), decoder.config.layers
    texts = [generator.integers(0, decoder.config.vocabulary, length).tolist() for length in lengths]
    together = [filled(decoder, text, 70 + 32 * i) for i, text in enumerate(texts)]
    alone = [filled(decoder, text, 96) for text in texts]
    first = 1
    for count in pieces:  # spans of layers, however they are cut
        last = min(layers, first + count - 1)
        if first > last:
            break
        decoder.run_rows(first, last, [(buffers, len(text) - 1) for buffers, text in zip(together, texts, strict=True)])
        for buffers, text in zip(alone, texts, strict=True):
            decoder.run_layers(first, last, buffers, len(text) - 1, len(text))
        first = last + 1
    tops = decoder.top_tokens_of([(each, len(text) - 1) for each, text in zip(together, texts, strict=True)], layers)
    for own, other, text, top in zip(together, alone, texts, tops, strict=True):
        assert np.array_equal(decoder.states(own, 0, len(text)), decoder.states(other, 0, len(text)))
        assert decoder.top_tokens(other, [len(text) - 1], layers) == [top]


def test_rows_of_one_cache_see_those_before_them(decoder: Any) -> None:
    tokens, layers = list(range(1, 8)), decoder.config.layers
    together, alone = (decoder.new_buffers(32) for _ in range(2))
    for buffers in (together, alone):
        decoder.embed_into(buffers, 0, tokens)
    decoder.run_rows(1, layers, [(together, position) for position in range(len(tokens))])
    decoder.run_layers(1, layers, alone, 0, len(tokens))
    assert np.array_equal(decoder.states(together, 0, 7), decoder.states(alone, 0, 7))


def test_what_is_out_of_bounds_is_refused(decoder: Any) -> None:
    buffers, layers = decoder.new_buffers(32), decoder.config.layers
    for first, last, rows in (
        (0, 1, [(buffers, 0)]),
        (1, layers + 1, [(buffers, 0)]),
        (1, layers, [(buffers, 32)]),
        (1, layers, [(buffers, -1)]),
        (1, layers, [(buffers, 0)] * 65),
        (1, layers, [(object(), 0)]),
    ):
        with pytest.raises(ValueError):
            decoder.run_rows(first, last, rows)
