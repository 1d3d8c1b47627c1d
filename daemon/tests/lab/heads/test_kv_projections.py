"""The windows that KV projections are trained on: their first positions are propagated as in a cache."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.propagation import PropagatingKVCache
from green_code.models.adapters import LinearAdapter
from green_code.models.config import ModelConfig
from green_code_lab.heads.kv_projections import TAIL, advance_tail, run_windows
from green_code_lab.lite.scores import WINDOW
from tests.decoding.references import DECODERS, assert_close

PREFILL_EXIT = 2


def adapters(config: ModelConfig) -> dict[int, LinearAdapter]:
    generator = torch.Generator().manual_seed(5)
    shape = 2 * config.kv_heads * config.head_width, config.width
    return {
        layer: LinearAdapter((torch.randn(shape, generator=generator) / 8).numpy(), np.ones(config.width, np.float32))
        for layer in range(PREFILL_EXIT + 1, config.layers + 1)
    }


@pytest.mark.parametrize("name", ["tiny", "opt"])
@pytest.mark.parametrize("learned", [False, True])
def test_the_tail_advances_in_training_as_in_service(name: str, learned: bool) -> None:
    decoder = copy.deepcopy(DECODERS[name])
    layers = decoder.config.layers
    rows = [torch.randint(3, 79, (WINDOW,), generator=torch.Generator().manual_seed(i)) for i in range(2)]
    propagated, last = run_windows(decoder, rows, PREFILL_EXIT)
    own = dict.fromkeys(range(PREFILL_EXIT + 1, layers + 1))
    found = adapters(decoder.config) if learned else {}
    projections = {
        layer: decoder.kv_projection(layer, torch.from_numpy(adapter.matrix)) for layer, adapter in found.items()
    }
    tail = advance_tail(decoder, propagated, own | projections)
    decoder.set_kv_projections(found)
    for i, row in enumerate(rows):
        cache = PropagatingKVCache(decoder, PREFILL_EXIT)
        cache.append(row.tolist())
        cache.propagate_before(WINDOW - TAIL)
        for depth in (PREFILL_EXIT + 1, layers):
            cache.advance(WINDOW - 1, depth)
            wanted = cache.states(WINDOW - TAIL, WINDOW)
            assert_close(tail[depth][i], wanted)
        exact = KVCache(decoder)
        exact.append(row.tolist())
        exact.advance(WINDOW - 1, layers)
        assert_close(last[i], exact.states(WINDOW - TAIL, WINDOW))
