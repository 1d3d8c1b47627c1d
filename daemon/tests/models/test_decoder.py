"""The decoder against transformers: the same logits for each family, in one pass and token by token."""

from __future__ import annotations

import pytest
import torch

from green_code.decoding.kv_cache import KVCache
from tests.models.references import SMALL, ours, small_model


@pytest.mark.parametrize("family", SMALL)
def test_prefill_equals_transformers(family: str) -> None:
    reference = small_model(family)
    tokens = torch.randint(0, 80, (2, 33), generator=torch.Generator().manual_seed(1))
    decoder = ours(reference)
    with torch.no_grad():
        expected = reference(tokens).logits
        x = decoder.embed_tokens(tokens)
        for layer in range(1, decoder.config.layers + 1):
            x = decoder.run_layer(layer, x)
        torch.testing.assert_close(decoder.logits(x), expected)


@pytest.mark.parametrize("family", SMALL)
def test_steps_equal_transformers(family: str) -> None:
    reference = small_model(family)
    tokens = torch.randint(0, 80, (30,), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = reference(tokens[None]).logits[0]
    decoder = ours(reference)
    cache = KVCache(decoder)
    for position, token in enumerate(tokens.tolist()):
        cache.append([token])
        cache.advance(position, decoder.config.layers)
        logits = decoder.logits(torch.from_numpy(cache.state(position)))
        torch.testing.assert_close(logits, expected[position])
