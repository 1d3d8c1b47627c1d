"""Small decoders, operations on their caches, and the states of a full forward pass without a cache."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from green_code.models.torch_decoder import Decoder
from tests.models.references import ours, small_model, tiny

DECODERS = {"tiny": tiny(), "llama": ours(small_model("llama")), "opt": ours(small_model("opt"))}
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


def assert_close(got: Any, expected: Any) -> None:
    """Arrays or tensors of the same shape and about the same values."""
    torch.testing.assert_close(torch.as_tensor(got), torch.as_tensor(expected), **TOLERANCE)


operation = st.one_of(
    st.tuples(st.just("append"), st.lists(st.integers(0, 79), min_size=1, max_size=12)),
    st.tuples(st.just("advance"), st.tuples(st.floats(0, 1), st.integers(1, 7), st.floats(0, 1))),
    st.tuples(st.just("truncate"), st.floats(0, 1)),
)
"""Name and arguments: the tokens; place in the text, depth, and share of the positions before it that need no output;
share of the text that remains."""


@torch.no_grad()
def states_at_all_depths(decoder: Decoder, tokens: list[int]) -> list[Tensor]:
    """Hidden states (N, C) at depth 0 … L by a full forward pass without any cache."""
    x = decoder.embed_tokens(torch.tensor([tokens]))
    states = [x[0]]
    for layer in range(1, decoder.config.layers + 1):
        x = decoder.run_layer(layer, x)
        states.append(x[0])
    return states


def prompt_tokens(count: int) -> list[int]:
    """Distinct enough ids that every decoder above has."""
    return [3 + (7 * i) % 70 for i in range(count)]
