"""The choice among the tokens that spell the required bytes, against all logits."""

from __future__ import annotations

import pytest
import torch

from green_code.decoding import healing
from green_code.decoding.exit_policies import ExitView
from green_code.decoding.kv_cache import KVCache
from tests.decoding.drafted import CHOOSER, DECODER, VOCABULARY


@pytest.mark.parametrize("many", [0, 1_000_000])
def test_the_likeliest_allowed_token_is_chosen_whether_all_tokens_or_these_are_scored(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(healing, "_MAX_SCORED", many)
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
            view, before = ExitView(cache, 0, layers, 0), cache.work.head_batches
            assert CHOOSER.choose(view, required) == max(allowed, key=lambda token: float(logits[token]))
            assert view.has_top == (not many)
            spared += cache.work.head_batches - before == view.has_top
    assert bool(spared) == (not many), "the top token was allowed: nothing else is scored"
