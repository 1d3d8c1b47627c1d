"""Tokens of `exact` are those of full depth, whatever drafts; drafts change no token of `fast`."""

from __future__ import annotations

import functools
import itertools
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from green_code.decoding.drafter import MAX_DRAFTS, Drafter
from green_code.decoding.exit_policies import Confidence, ExitView, Fixed, Full, Policy, parse_policy
from green_code.decoding.generate import Generated, ends_completion, generate
from green_code.decoding.healing import heal
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.speculative import decode
from green_code.decoding.stop_rules import Situation
from green_code.decoding.verifier import Decoded, Verifier
from green_code.problems import Problem
from tests.decoding.references import states_at_all_depths
from tests.decoding.scripted_drafts import (
    CHEAP,
    CHOOSER,
    DECODER,
    END_OF_TEXT,
    LAYERS,
    LOOKUPS,
    NEW_TOKENS,
    POLICIES,
    TOKENS,
    VOCABULARY,
    EagerPriceBook,
    ScriptedLookup,
    ScriptedPolicy,
    correct_guess,
    exact,
    exact_tokens,
    expected_tokens,
    fast,
    full_depth_tokens,
    new_cache,
    new_price_book,
    repeated_prompt,
)
from tests.examples import examples
from tests.models.references import ours, small_model

SPELLING_TOKENS = 5  # enough to spell the required bytes, and some more


@pytest.mark.parametrize("lookup", LOOKUPS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("required", [b"", b"re", b"  "])
def test_exact_equals_full(policy: str, required: bytes, lookup: str) -> None:
    count = SPELLING_TOKENS if required else NEW_TOKENS
    for seed, price_book in enumerate((new_price_book, EagerPriceBook)):
        prompt = repeated_prompt(seed)
        got = exact_tokens(POLICIES[policy](), prompt, count, required, price_book(CHEAP), LOOKUPS[lookup]())
        assert got == expected_tokens(seed, required)[:count]


@examples(8)
@given(
    prompt=st.lists(st.integers(2, 12), min_size=1, max_size=24),
    share=st.floats(0, 1),
    chance=st.floats(0.01, 0.99),
    answers=st.lists(st.booleans(), min_size=1, max_size=9),
    seed=st.integers(0, 2**16),
)
def test_exact_equals_full_whatever_share_of_the_drafts_is_right(
    prompt: list[int], share: float, chance: float, answers: list[bool], seed: int
) -> None:
    """`share` of prompt lookup's drafts is right; `chance` is the acceptance rate that it reports."""
    expected = full_depth_tokens(prompt, NEW_TOKENS)
    generator, right = random.Random(seed), correct_guess(prompt, expected)

    def guess(context: Sequence[int]) -> int | None:
        known = right(context)
        correct = END_OF_TEXT if known is None else known
        return correct if generator.random() < share else generator.randrange(TOKENS)

    price_book, policy = new_price_book(CHEAP, math.inf), ScriptedPolicy(itertools.cycle(answers))
    assert exact_tokens(policy, prompt, NEW_TOKENS, b"", price_book, ScriptedLookup(guess, chance)) == expected


@pytest.mark.parametrize("lookup_name", LOOKUPS)
@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_is_drafted_beyond_the_end(policy: str, lookup_name: str) -> None:
    """If decoding continues after an end all the same, it gives the tokens of full depth."""
    prompt, expected = repeated_prompt(1), expected_tokens(1)
    end = expected[4]
    cache, lookup = new_cache(prompt), LOOKUPS[lookup_name]()
    price_book = EagerPriceBook(CHEAP)
    stream = exact(cache, POLICIES[policy](), price_book, lookup, ends=lambda token: token == end)
    got = []
    for decoded in stream:
        got.append(decoded.token)
        if decoded.token == end:
            assert len(cache) <= len(prompt) + len(got)
        if len(got) == NEW_TOKENS:
            break
    assert got == expected


@pytest.mark.parametrize("max_tokens", [1, 2, 5, 17, 30])
def test_nothing_is_drafted_beyond_max_tokens(max_tokens: int) -> None:
    prompt = [1, 300, *range(100, 108)]
    expected = full_depth_tokens(prompt, 30)
    cache, lookup = new_cache(prompt), ScriptedLookup(correct_guess(prompt, expected))
    stream = exact(cache, Full(), EagerPriceBook(CHEAP), lookup, max_tokens=max_tokens)
    assert [each.token for each in itertools.islice(stream, max_tokens)] == expected[:max_tokens]
    assert len(cache) <= len(prompt) + max_tokens
    assert cache.work.head_positions == max_tokens
    assert cache.work.head_batches == -(-max_tokens // (MAX_DRAFTS + 1))


@pytest.mark.parametrize("family", ["gemma3_text", "llama", "opt"])
def test_full_equals_transformers_generate(family: str) -> None:
    reference = small_model(family)
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
        cache.advance(len(cache) - 1, decoder.config.layers)
        got.append(int(decoder.logits(torch.from_numpy(cache.state(len(cache) - 1))).argmax()))
        cache.append(got[-1:])
    assert got == expected.tolist()


def test_fast_decodes_from_the_exit_that_the_policy_chose() -> None:
    policy = ScriptedPolicy(itertools.cycle([False, True]))
    cache = new_cache([1, 5, 7])
    decoded = next(fast(cache, policy))
    assert (decoded.depth, decoded.position) == (3, 2)
    state = torch.from_numpy(cache.states(2, 3))
    logits = DECODER.logits(DECODER.apply_lens(state, 3)[0])
    assert decoded.token == int(logits.argmax())
    assert decoded.probability == pytest.approx(share_of_candidates(logits))
    assert decoded.token != int(DECODER.logits(state[0]).argmax()), "an exit has its lens"
    assert (cache.work.head_batches, cache.work.decisions) == (1, 2)
    # Three positions are pending below three layers, and one of them below the last.
    assert policy.views[0].pending == 3 * 3 + 1


def share_of_candidates(logits: torch.Tensor) -> float:
    """The likeliest token's share of the probability of the candidates (models/backend.py)."""
    candidates = sorted(logits.tolist())[-256:]
    return 1 / sum(math.exp(each - candidates[-1]) for each in candidates if each > candidates[-1] - 8)


def test_probabilities_are_the_last_layers_whatever_drafts() -> None:
    """Each token has that of a plain forward pass at its position, also where an exit or prompt lookup drafted it."""
    prompt, expected = repeated_prompt(1), expected_tokens(1)
    logits = DECODER.logits(states_at_all_depths(DECODER, [*prompt, *expected])[LAYERS])
    for policy, lookup in itertools.product(POLICIES, LOOKUPS):
        cache, own = new_cache(prompt), LOOKUPS[lookup]()
        for i, decoded in enumerate(itertools.islice(exact(cache, POLICIES[policy](), EagerPriceBook(CHEAP), own), 6)):
            assert (decoded.token, decoded.position) == (expected[i], len(prompt) - 1 + i)
            assert decoded.probability == pytest.approx(share_of_candidates(logits[decoded.position]), rel=1e-3)


@dataclass(frozen=True)
class PolicyOfPendingWork:
    """Its decision depends on the top token and on the pending work."""

    exits: tuple[int, ...] = (3,)
    classifier_runs: int = 1

    def should_exit(self, view: ExitView) -> bool:
        return (view.top.token + view.pending // (LAYERS - 3)) % 3 > 0


FAST_POLICIES: dict[str, Policy] = {
    "full": Full(),
    "fixed": Fixed((4,)),
    "confident": Confidence((2, 4), 0.05),
    "by the pending work": PolicyOfPendingWork(),
}


def tokens_and_depths(stream: Iterator[Decoded], count: int) -> list[tuple[int, int]]:
    return [(each.token, each.depth) for each in itertools.islice(stream, count)]


@functools.cache
def undrafted(policy_name: str, seed: int, required: bytes) -> tuple[list[tuple[int, int]], int]:
    """Tokens and depths of `fast` without drafts, and how many layer batches they took."""
    cache = new_cache(repeated_prompt(seed))
    stream = fast(cache, FAST_POLICIES[policy_name], required=required)
    tokens = tokens_and_depths(stream, SPELLING_TOKENS if required else NEW_TOKENS)
    return tokens, cache.work.layer_batches


@pytest.mark.parametrize("lookup_name", LOOKUPS)
@pytest.mark.parametrize("policy_name", FAST_POLICIES)
@pytest.mark.parametrize("required", [b"", b"re"])
def test_drafts_change_nothing_in_fast(policy_name: str, required: bytes, lookup_name: str) -> None:
    """Tokens and their depths are the same, and layers run no more often."""
    depths = set()
    for seed in range(3):
        prompt = repeated_prompt(seed)
        cache, lookup = new_cache(prompt), LOOKUPS[lookup_name]()
        expected, layer_batches = undrafted(policy_name, seed, required)
        count, policy = len(expected), FAST_POLICIES[policy_name]
        stream = fast(cache, policy, EagerPriceBook(CHEAP), lookup, required, max_tokens=count)
        assert tokens_and_depths(stream, count) == expected
        assert cache.work.layer_batches <= layer_batches
        depths |= {depth for _, depth in expected}
    assert policy_name != "by the pending work" or depths == {3, LAYERS}


def test_a_correct_draft_saves_a_pass_to_the_exit() -> None:
    """20 tokens in two passes that end at the exit; deeper layers do not run."""
    prompt = [1, 300, *range(100, 108)]
    expected = tokens_and_depths(fast(new_cache(prompt), Fixed((4,))), 20)
    lookup = ScriptedLookup(correct_guess(prompt, [token for token, _ in expected]))
    cache = new_cache(prompt)
    stream = fast(cache, Fixed((4,)), EagerPriceBook(CHEAP), lookup, max_tokens=20)
    assert tokens_and_depths(stream, 20) == expected == [(token, 4) for token, _ in expected]
    assert (cache.work.layer_batches, cache.work.head_batches, cache.work.head_positions) == (2 * 4, 2, 20)
    assert cache.work.layer_positions == 4 * (len(prompt) - 1 + 20)


def test_exits_run_fewer_layers() -> None:
    prompt = [1, 9, 8, 7]
    cache = new_cache(prompt)
    list(itertools.islice(fast(cache, Fixed((2,))), 5))
    assert cache.work.layer_positions == 2 * (len(prompt) + 4)
    cache = new_cache(prompt)
    verified = list(itertools.islice(exact(cache, Full()), 5))
    # The last layer only computes keys and values of three positions.
    assert cache.work.layer_positions == 6 * (len(prompt) + 4) - 3
    assert [each.depth for each in verified] == [6] * 5


def test_healed_tokens_spell_the_removed_one_again() -> None:
    prompt = [VOCABULARY.bos or 0, *VOCABULARY.encode("x = ret")]
    keep, required = heal(prompt, VOCABULARY)
    assert required == b"ret"
    tokens = full_depth_tokens(keep, 12, required)
    assert VOCABULARY.decode_bytes(tokens).startswith(b"ret")
    assert heal([1, *VOCABULARY.encode("x\n")], VOCABULARY)[1] == b""  # no word continues after a line break
    assert heal([], VOCABULARY) == ([], b"")  # of a model without a start token


ANYWHERE = Situation.at("", "", single_line=False, max_lines=100)


def complete(
    policy: Policy | None = None, max_tokens: int = 6, deadline: float = math.inf, lookup: ScriptedLookup | None = None
) -> tuple[Generated, KVCache]:
    """A completion in `exact`, and its cache; the exits of `policy` draft."""
    cache, result = new_cache([1, 5, 7]), Generated()

    def ends(token: int) -> bool:
        return ends_completion(token, VOCABULARY, ANYWHERE)

    drafter = Drafter(EagerPriceBook(CHEAP), lookup, policy or Full(), CHOOSER, ends)
    stream = decode(cache, drafter, Verifier(Full(), CHOOSER), b"", max_tokens)
    generate(
        result, cache, stream, VOCABULARY, required=b"", situation=ANYWHERE, stop=None,
        max_tokens=max_tokens, deadline=deadline,
    )  # fmt: skip
    return result, cache


def test_limits_give_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = complete()
    assert (result.reason, len(result.tokens)) == ("max_tokens", 6)
    assert complete(deadline=time.monotonic() - 1)[0].reason == "budget"
    with monkeypatch.context() as small:
        small.setattr(DECODER, "config", replace(DECODER.config, max_positions=16))
        for policy in (Full(), Fixed((4,))):
            filled, _ = complete(policy, max_tokens=60)
            # 13 of them have a position; the last one needs none.
            assert (filled.reason, len(filled.tokens)) == ("max_tokens", 14)
    end = result.tokens[-1]
    monkeypatch.setattr(VOCABULARY, "eos", frozenset((end,)))
    expected = result.tokens[: result.tokens.index(end)]
    for lookup in (None, ScriptedLookup(correct_guess([1, 5, 7], result.tokens))):
        ended, cache = complete(max_tokens=60, lookup=lookup)
        assert (ended.reason, ended.tokens) == ("end_of_text", expected)
        assert ended.passes == len(expected) + 1
        assert cache.work.head_positions == len(expected) + 1  # nothing is drafted after the end


@pytest.mark.parametrize(
    "policy", ["fixed:0", "fixed:7", "fixed:x", "confidence:2", "confidence:", "agents", "full:3", ""]
)
def test_bad_policies_are_refused(policy: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_policy(policy, (2, 4), 6, None, 0.8)
    assert caught.value.reason == "bad_request"


def test_the_policy_agent_without_an_agent_is_refused() -> None:
    with pytest.raises(Problem, match="has no agent"):
        parse_policy("agent", (2, 4), 6, None, 0.8)
