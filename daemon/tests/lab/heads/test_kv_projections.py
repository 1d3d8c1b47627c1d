"""What entries are learned from: windows whose first positions settle, as they do on a cache."""

from __future__ import annotations

import copy

import pytest
import torch

from green_code.decoding.kv_cache import KVCache
from green_code.models.adapters import LinearAdapter
from green_code.models.families import ModelConfig
from green_code_lab.heads.kv_projections import RISEN, read, rise
from green_code_lab.lite.scores import WINDOW
from tests.decoding.references import DECODERS, TOLERANCE

PREFILL_EXIT = 2


def entries(config: ModelConfig) -> dict[int, LinearAdapter]:
    generator = torch.Generator().manual_seed(5)
    shape = 2 * config.kv_heads * config.head_width, config.width
    return {
        layer: LinearAdapter(torch.randn(shape, generator=generator) / 8, torch.ones(config.width))
        for layer in range(PREFILL_EXIT + 1, config.layers + 1)
    }


@pytest.mark.parametrize("name", ["tiny", "opt"])
@pytest.mark.parametrize("learned", [False, True])
def test_positions_rise_in_training_as_they_do_in_service(name: str, learned: bool) -> None:
    decoder = copy.deepcopy(DECODERS[name])
    layers = decoder.config.layers
    rows = [
        torch.randint(3, 79, (WINDOW,), generator=torch.Generator().manual_seed(i)).numpy() for i in range(2)
    ]
    batch = read(decoder, rows, PREFILL_EXIT)
    own = dict.fromkeys(range(PREFILL_EXIT + 1, layers + 1))
    found = entries(decoder.config) if learned else {}
    projections = {layer: decoder.kv_projection(layer, entry) for layer, entry in found.items()}
    risen = rise(decoder, batch.propagated, own | projections)
    decoder.set_kv_projections(found)
    for i, row in enumerate(rows):
        cache = KVCache(decoder, prefill_exit=PREFILL_EXIT)
        cache.append(row.tolist())
        cache.propagate_before(WINDOW - RISEN)
        for depth in (PREFILL_EXIT + 1, layers):
            cache.advance(WINDOW - 1, depth)
            wanted = cache.states(WINDOW - RISEN, WINDOW)
            torch.testing.assert_close(risen[depth][i], wanted, **TOLERANCE)
        exact = KVCache(decoder)
        exact.append(row.tolist())
        exact.advance(WINDOW - 1, layers)
        torch.testing.assert_close(batch.last[i], exact.states(WINDOW - RISEN, WINDOW), **TOLERANCE)
