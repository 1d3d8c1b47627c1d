"""The choice among the tokens that spell the required bytes, against all logits."""

from __future__ import annotations

import re

import pytest
import torch

from green_code.decoding import healing
from green_code.decoding.exit_policies import ExitView
from green_code.decoding.healing import ends_keyword, heal, spelled_again
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.stop_rules import Situation
from tests.decoding.references import states_at_all_depths
from tests.decoding.scripted_drafts import CHOOSER, DECODER, LAYERS, VOCABULARY, full_depth_tokens


@pytest.mark.parametrize("max_scored", [0, 1_000_000], ids=["top token first", "allowed tokens only"])
def test_the_likeliest_allowed_token_is_chosen(max_scored: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "_MAX_SCORED", max_scored)
    layers, top_sufficed, cache = DECODER.config.layers, 0, KVCache(DECODER)
    cache.append([1])
    cache.advance(0, layers)
    generator = torch.Generator().manual_seed(3)
    first_bytes = sorted({spelled[:1] for spelled in VOCABULARY.token_bytes if spelled})
    for state in torch.randn(40, DECODER.config.width, generator=generator):
        cache.state(0)[:] = state
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


@pytest.mark.parametrize(
    ("language", "before", "is_whole"),
    [
        ("python", "    return", True),
        ("python", "from pathlib import", True),
        ("python", "for name in", True),
        ("python", "if x is None or", True),
        ("python", "x = a if", True),
        ("python", "with open(path) as", True),
        ("python", "x = None", True),
        ("python", "if a: return", True),
        ("java", "    public static", True),
        ("java", "    } else", True),
        ("typescript", "const x = await", True),
        ("go", "\tfor i := range", True),
        # short ones begin names: int, isinstance, assert, format
        ("python", "x = in", False),
        ("python", "if is", False),
        ("python", "    as", False),
        ("python", "    for", False),
        ("java", "    final in", False),
        ("shellscript", "cd do", False),
        # a longer keyword, or a name in the file
        ("java", "    final", False),
        ("python", "password = 1\npass", False),
        # a statement's word where none can begin
        ("python", "x = class", False),
        # no words of their own
        ("python", "self.return", False),
        ("python", "no_return", False),
        ("python", "    retur", False),
        ("python", "    return ", False),
        ("python", "# the words in", False),
        ("python", 'x = "words in', False),
        ("markdown", "return", False),
    ],
)
def test_which_words_are_whole_keywords(language: str, before: str, is_whole: bool) -> None:
    assert ends_keyword(Situation.at(before, "", True, 1, language)) == is_whole


def test_inside_a_word_nothing_is_whole() -> None:
    assert not ends_keyword(Situation.at("    return", "ed", True, 1, "python"))


def test_behind_a_whole_keyword_no_word_comes_and_nothing_is_spelled_again() -> None:
    prompt = [VOCABULARY.bos or 0, *VOCABULARY.encode("    return")]
    kept, required = heal(prompt, VOCABULARY, is_whole=True)
    assert kept == prompt and spelled_again(required) == 0
    for seed in range(20):
        start = [*kept[: 1 + seed % 3], *range(20 + seed, 26 + seed)]
        first, second = full_depth_tokens(start, 2, required)
        assert not re.match(r"\w", VOCABULARY.decode([first]))
        logits = DECODER.logits(states_at_all_depths(DECODER, start)[LAYERS][-1:])[0]
        allowed = [
            i
            for i, spelled in enumerate(VOCABULARY.token_bytes)
            if spelled and not re.match(rb"[\w\x80-\xff]", spelled)
        ]
        assert first == max(allowed, key=lambda token: float(logits[token]))
        assert second == full_depth_tokens([*start, first], 1)[0], "the second token is free"
