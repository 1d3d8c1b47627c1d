"""The choice among the tokens that spell the required bytes, against all logits."""

from __future__ import annotations

import pytest
import torch

from green_code.decoding import healing
from green_code.decoding.exit_policies import ExitView
from green_code.decoding.kv_cache import KVCache
from tests.decoding.scripted_drafts import CHOOSER, DECODER, VOCABULARY


@pytest.mark.parametrize("max_scored", [0, 1_000_000], ids=["top token first", "allowed tokens only"])
def test_the_likeliest_allowed_token_is_chosen(max_scored: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "_MAX_SCORED", max_scored)
    layers, top_sufficed, cache = DECODER.config.layers, 0, KVCache(DECODER)
    cache.append([1])
    cache.advance(0, layers)
    generator = torch.Generator().manual_seed(3)
    first_bytes = sorted({spelled[:1] for spelled in VOCABULARY.token_bytes if spelled})
    for state in torch.randn(40, DECODER.config.width, generator=generator):
        cache.state(0).copy_(state)
        logits = DECODER.logits(state[None])[0]
        likeliest = VOCABULARY.token_bytes[int(logits.argmax())][:1]
        for required in {likeliest, *first_bytes[:5]} - {b""}:
            allowed = VOCABULARY.tokens_compatible_with(required)
            view, before = ExitView(cache, 0, layers, 0), cache.work.head_batches
            top = CHOOSER.choose(view, required)
            assert top.token == max(allowed, key=lambda token: float(logits[token]))
            scored = logits.topk(256).values if view.has_top and top is view.top else logits[allowed]
            assert top.probability == pytest.approx(float(scored.softmax(0).max()), rel=0.01)
            assert view.has_top == (not max_scored)
            top_sufficed += cache.work.head_batches - before == view.has_top
    assert bool(top_sufficed) == (not max_scored), "the top token was allowed: nothing else is scored"
