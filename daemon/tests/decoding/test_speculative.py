"""`exact` gives the tokens of full depth whatever the policy does; `full` gives those of transformers."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from green_code.decoding.drafter import MAX_DRAFTS, Drafter
from green_code.decoding.exit_policies import Confidence, ExitView, Fixed, Full, Policy, parse_policy
from green_code.decoding.generate import Generated, ends_completion, generate
from green_code.decoding.healing import heal
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.speculative import decode
from green_code.decoding.verifier import Verifier
from green_code.problems import Problem
from tests.decoding.drafted import (
    CHEAP,
    CHOOSER,
    DECODER,
    END,
    LAYERS,
    POLICIES,
    TEXTS,
    VOCABULARY,
    WORDS,
    EagerBook,
    Guesses,
    Scripted,
    always_right,
    book,
    cached,
    doubled,
    exact,
    fast,
    full_depth,
    stream_tokens,
)
from tests.models.references import ours, small_models


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("required", [b"", b"re", b"  "])
def test_exact_equals_full(name: str, required: bytes, text: str) -> None:
    for seed, kind in enumerate((EagerBook, book, EagerBook)):
        got = stream_tokens(POLICIES[name](), True, doubled(seed), 30, required, kind(CHEAP), TEXTS[text]())
        assert got == full_depth(seed, required)


@settings(max_examples=30, deadline=None)
@given(
    prompt=st.lists(st.integers(2, 12), min_size=1, max_size=40),
    share=st.floats(0, 1),
    chance=st.floats(0.01, 0.99),
    answers=st.lists(st.booleans(), min_size=1, max_size=9),
    seed=st.integers(0, 2**16),
)
def test_exact_equals_full_however_right_the_drafts_are(
    prompt: list[int], share: float, chance: float, answers: list[bool], seed: int
) -> None:
    """Text guesses rightly a share of the time, with any opinion of itself."""
    expected = stream_tokens(Full(), False, prompt, 24)
    generator = random.Random(seed)

    def guess(context: Sequence[int]) -> int | None:
        known = {tuple([*prompt, *expected[:i]][-8:]): expected[i] for i in range(len(expected))}
        right = known.get(tuple(context), END)
        return right if generator.random() < share else generator.randrange(WORDS)

    price_book, policy = book(CHEAP, math.inf), Scripted(itertools.cycle(answers))
    assert stream_tokens(policy, True, prompt, 24, b"", price_book, Guesses(guess, chance)) == expected


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", POLICIES)
def test_nothing_is_drafted_beyond_the_end(name: str, text: str) -> None:
    """Whoever goes on after an end all the same gets the tokens of full depth."""
    for seed in range(3):
        prompt, expected = doubled(seed), full_depth(seed, b"")
        end = expected[4]
        cache, lookup = cached(prompt), TEXTS[text]()
        if lookup is not None:
            lookup.document.follow(prompt)
        stream = exact(cache, POLICIES[name](), EagerBook(CHEAP), lookup, ends=lambda t: t == end)  # noqa: B023
        got = []
        for token, _ in stream:
            got.append(token)
            if token == end:
                assert len(cache) <= len(prompt) + len(got)
            if len(got) == 30:
                break
        assert got == expected


@pytest.mark.parametrize("most", [1, 2, 5, 17, 30])
def test_nothing_is_drafted_beyond_the_tokens_asked_for(most: int) -> None:
    prompt = [1, 300, *range(100, 108)]
    expected = stream_tokens(Full(), False, prompt, 30)
    cache, lookup = cached(prompt), Guesses(always_right(prompt, expected))
    stream = exact(cache, Full(), EagerBook(CHEAP), lookup, max_tokens=most)
    assert [token for token, _ in itertools.islice(stream, most)] == expected[:most]
    assert len(cache) <= len(prompt) + most
    assert cache.work.head_positions == most
    assert cache.work.head_batches == -(-most // (MAX_DRAFTS + 1))


@pytest.mark.parametrize("family", ["gemma3_text", "llama", "opt"])
def test_full_equals_transformers_generate(family: str) -> None:
    reference = small_models()[family]
    decoder = ours(reference)
    prompt = torch.randint(4, 80, (1, 9), generator=torch.Generator().manual_seed(3))
    expected = reference.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=24,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )[0, 9:]
    cache = KVCache(decoder)
    cache.append(prompt[0].tolist())
    got = []
    for _ in range(24):
        got.append(int(decoder.logits(cache.advance(len(cache) - 1, decoder.config.layers)).argmax()))
        cache.append(got[-1:])
    assert got == expected.tolist()


def test_fast_decodes_from_the_exit_that_the_policy_chose() -> None:
    policy = Scripted(itertools.cycle([False, True]))
    cache = cached([1, 5, 7])
    token, depth = next(fast(cache, policy))
    assert depth == 3
    state = cache.states(2, 3)
    assert token == int(DECODER.logits(DECODER.apply_lens(state, 3)[0]).argmax())
    assert token != int(DECODER.logits(state[0]).argmax()), "an exit is seen through its lens"
    assert (cache.work.head_batches, cache.work.decisions) == (1, 2)
    # Three positions wait below three layers, and one of them alone below the last.
    assert policy.seen[0].pending == 3 * 3 + 1


@dataclass(frozen=True)
class Reckoning:
    """Stops by what it sees at its one exit, the pending work included."""

    exits: tuple[int, ...] = (3,)
    classifier_runs: int = 1

    def should_exit(self, view: ExitView) -> bool:
        return (view.top.token + view.pending // (LAYERS - 3)) % 3 > 0


DECIDERS: dict[str, Policy] = {
    "full": Full(),
    "fixed": Fixed((4,)),
    "confident": Confidence((2, 4), 0.05),
    "by the pending work": Reckoning(),
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", DECIDERS)
@pytest.mark.parametrize("required", [b"", b"re"])
def test_drafts_change_nothing_in_fast(name: str, required: bytes, text: str) -> None:
    """Tokens and the depths that gave them; layers never run more often than without."""
    depths = set()
    for seed in range(3):
        prompt = doubled(seed)
        alone, cache, lookup = cached(prompt), cached(prompt), TEXTS[text]()
        plain = fast(alone, DECIDERS[name], required=required)
        if lookup is not None:
            lookup.document.follow(prompt)
        drafted = fast(cache, DECIDERS[name], EagerBook(CHEAP), lookup, required)
        expected = list(itertools.islice(plain, 30))
        assert list(itertools.islice(drafted, 30)) == expected
        assert cache.work.layer_batches <= alone.work.layer_batches
        depths |= {depth for _, depth in expected}
    assert name != "by the pending work" or depths == {3, LAYERS}


def test_a_right_draft_saves_a_pass_to_the_exit() -> None:
    """20 tokens in two passes that end at the exit; deeper layers are not run at all."""
    prompt = [1, 300, *range(100, 108)]
    expected = list(itertools.islice(fast(cached(prompt), Fixed((4,))), 20))
    knowing = Guesses(always_right(prompt, [token for token, _ in expected]))
    cache = cached(prompt)
    stream = fast(cache, Fixed((4,)), EagerBook(CHEAP), knowing, max_tokens=20)
    assert list(itertools.islice(stream, 20)) == expected == [(token, 4) for token, _ in expected]
    assert (cache.work.layer_batches, cache.work.head_batches, cache.work.head_positions) == (2 * 4, 2, 20)
    assert cache.work.layer_positions == 4 * (len(prompt) - 1 + 20)


def test_exits_run_fewer_layers_and_drafts_keep_their_states() -> None:
    prompt = [1, 9, 8, 7]
    cache = cached(prompt)
    list(itertools.islice(fast(cache, Fixed((2,))), 5))
    assert cache.work.layer_positions == 2 * (len(prompt) + 4)
    cache = cached(prompt)
    verified = list(itertools.islice(exact(cache, Full()), 5))
    # The last layer makes keys and values alone of three.
    assert cache.work.layer_positions == 6 * (len(prompt) + 4) - 3
    assert [depth for _, depth in verified] == [6] * 5


def test_healing_spells_the_word_again() -> None:
    prompt = [VOCABULARY.bos or 0, *VOCABULARY.encode("x = ret")]
    keep, required = heal(prompt, VOCABULARY)
    assert required == b"ret"
    tokens = stream_tokens(Full(), False, keep, 12, required)
    assert VOCABULARY.decode_bytes(tokens).startswith(b"ret")
    assert heal([1, *VOCABULARY.encode("x\n")], VOCABULARY)[1] == b""  # nothing goes on after a line break
    assert heal([], VOCABULARY) == ([], b"")  # of a model without a start token


def run(
    policy: Policy | None = None,
    max_tokens: int = 6,
    deadline: float = math.inf,
    lookup: Guesses | None = None,
) -> tuple[Generated, KVCache]:
    """A completion by the last layer; `policy`: whose exits draft."""
    cache, result = cached([1, 5, 7]), Generated()
    drafter = Drafter(
        EagerBook(CHEAP),
        lookup,
        policy or Full(),
        CHOOSER,
        lambda token: ends_completion(token, VOCABULARY, None),
    )
    stream = decode(cache, drafter, Verifier(Full(), CHOOSER), CHOOSER, b"", max_tokens)
    generate(
        result, stream, VOCABULARY, required=b"", situation=None, max_tokens=max_tokens, deadline=deadline
    )
    return result, cache


def test_limits_give_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run()
    assert (result.reason, len(result.tokens)) == ("max_tokens", 6)
    assert run(deadline=time.monotonic() - 1)[0].reason == "budget"
    with monkeypatch.context() as small:
        small.setattr(DECODER, "config", replace(DECODER.config, max_positions=16))
        for policy in (Full(), Fixed((4,))):
            filled, _ = run(policy, max_tokens=60)
            # The last has no position of its own.
            assert (filled.reason, len(filled.tokens)) == ("max_tokens", 14)
    end = result.tokens[-1]
    monkeypatch.setattr(VOCABULARY, "eos", frozenset((end,)))
    expected = result.tokens[: result.tokens.index(end)]
    for lookup in (None, Guesses(always_right([1, 5, 7], result.tokens))):
        ended, cache = run(max_tokens=60, lookup=lookup)
        assert (ended.reason, ended.tokens) == ("end_of_text", expected)
        assert ended.passes == len(expected) + 1
        assert cache.work.head_positions == len(expected) + 1  # nothing is drafted after the end


@pytest.mark.parametrize(
    "text", ["fixed:0", "fixed:7", "fixed:x", "confidence:2", "confidence:", "agents", "full:3", ""]
)
def test_bad_policies_are_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_policy(text, (2, 4), 6, None, 0.8)
    assert caught.value.reason == "bad_request"


def test_agent_without_a_network_says_so() -> None:
    with pytest.raises(Problem, match="has no agent"):
        parse_policy("agent", (2, 4), 6, None, 0.8)
