"""The choice among the tokens that spell what is required, against all logits."""

from __future__ import annotations

import pytest
import torch

from green_code.decoding import healing
from green_code.decoding.exit_policies import View
from green_code.decoding.kv_cache import KVCache
from tests.decoding.drafted import CHOOSER, DECODER, VOCABULARY


@pytest.mark.parametrize("many", [0, 1_000_000])
def test_the_likeliest_of_the_allowed_is_chosen_whether_the_head_looks_at_all_or_at_these(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(healing, "_MANY", many)
    layers, spared, cache = DECODER.config.layers, 0, KVCache(DECODER)
    cache.append([1])
    cache.advance(0, layers)
    generator = torch.Generator().manual_seed(3)
    starts = sorted({spelled[:1] for spelled in VOCABULARY.token_bytes if spelled})
    for state in torch.randn(40, DECODER.config.width, generator=generator):
        cache.state(0).copy_(state)
        logits = DECODER.logits(state[None])[0]
        first = VOCABULARY.token_bytes[int(logits.argmax())][:1]
        for required in {first, *starts[:5]} - {b""}:
            allowed = VOCABULARY.tokens_compatible_with(required)
            view = View(cache, 0, layers, 0)
            assert CHOOSER.choose(view, required) == max(allowed, key=lambda token: float(logits[token]))
            assert view.looked == (not many)
            spared += not view.scored
    assert bool(spared) == (not many), "the head has said it already"
