"""`exact` gives the tokens of full depth whatever the policy does; `full` gives those of transformers."""

from __future__ import annotations

import functools
import itertools
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from green_code.decoding.drafter import MAX_DRAFTS, Drafter, Prices
from green_code.decoding.drafting import draft
from green_code.decoding.drafts import Draft, Rate
from green_code.decoding.effort import Effort
from green_code.decoding.exits import Confidence, Fixed, Full, Policy, View, parse_policy
from green_code.decoding.generate import Generated, exact, fast, generate
from green_code.decoding.healing import Chooser, heal
from green_code.decoding.lookup import Lookup
from green_code.decoding.staircase import Staircase
from green_code.models.decoder import Decoder
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from tests.models.references import ours, small_models

DECODER = Decoder.load(TinySource().config, dict(TinySource().tensors(None)))
VOCABULARY = Vocabulary(*TinySource().vocabulary(None))
CHOOSER = Chooser(VOCABULARY)


@dataclass
class Scripted:
    """Answers in turn, whatever it sees."""

    answers: itertools.cycle[bool]
    exits: tuple[int, ...] = (2, 3, 5)
    seen: list[View] = field(default_factory=list)
    network_runs: int = 1

    def stop(self, view: View) -> bool:
        self.seen.append(view)
        return next(self.answers)


LAYERS = DECODER.config.layers
CHEAP = Prices(LAYERS, run=1.0, few=0.005, evaluation=0.01, head=0.02, head_row=0.01)


class Guesses(Lookup):
    """Guesses as a test says, by the context; each is held to be right with `chance`, for ever."""

    def __init__(self, guess: Callable[[Sequence[int]], int | None], chance: float = 0.9) -> None:
        super().__init__(VOCABULARY, LAYERS)
        self.say, self.rate = guess, Rate.prior(chance, 1e9)

    def guess(self, context: Sequence[int], required: bytes) -> Draft | None:
        token = self.say(context)
        return None if token is None else Draft(token, LAYERS, self.rate)


class Generous(Prices):
    """Every guess is expected to pay."""

    def gain(self, chance: float, price: float) -> float:
        return 1.0


class EagerDrafter(Drafter):
    """Takes every draft that it is offered, and asks at every exit."""

    def __init__(self, prices: Prices, lookup: Lookup | None) -> None:
        super().__init__(Generous(**asdict(prices)), lookup)

    def affords(self, price: float, full: float) -> bool:
        return True

    def exit_gain(self, depth: int, chance: float, before: int) -> float:
        return 0.5  # text comes first

    def worth_asking(self, policy: Policy, chance: float, before: int) -> dict[int, float]:
        return dict.fromkeys(policy.exits, 0.5)


def stream_tokens(
    policy: Policy,
    verify: bool,
    prompt: list[int],
    count: int,
    required: bytes = b"",
    drafter: Drafter | None = None,
) -> list[int]:
    stairs = Staircase(DECODER)
    stairs.append(prompt)
    if verify:
        drafter = drafter or EagerDrafter(CHEAP, None)
        if drafter.lookup is not None:
            drafter.lookup.document.follow(prompt)
        stream = exact(stairs, policy, CHOOSER, required, Effort(), drafter=drafter)
    else:
        stream = fast(stairs, policy, CHOOSER, required, Effort())
    tokens = [token for token, _ in itertools.islice(stream, count)]
    if drafter is not None and drafter.lookup is not None:
        assert drafter.lookup.document.tokens[: len(prompt) + count] == [*prompt, *tokens]
    return tokens


POLICIES = {
    "never": lambda: Scripted(itertools.cycle([False])),
    "always": lambda: Scripted(itertools.cycle([True])),
    "in turn": lambda: Scripted(itertools.cycle([True, False, False])),
    "at random": lambda: Scripted(itertools.cycle(random.Random(1).choices([True, False], k=97))),
    "fixed": lambda: Fixed((4,)),
    "confident": lambda: Confidence((2, 4), 0.05),
}
NONE, END, WORDS = None, 0, len(VOCABULARY)
TEXTS: dict[str, Callable[[], Lookup | None]] = {
    "no text": lambda: None,
    "the document": lambda: Lookup(VOCABULARY, LAYERS),
    "wrong": lambda: Guesses(lambda context: (context[-1] * 7 + 3) % WORDS),
    "the end of the text": lambda: Guesses(lambda _: END),
    "repeated": lambda: Guesses(lambda context: context[-1]),
    "at times": lambda: Guesses(lambda context: context[-1] if sum(context) % 3 else NONE),
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("required", [b"", b"re", b"  "])
def test_exact_equals_full(name: str, required: bytes, text: str) -> None:
    for seed, kind in enumerate((EagerDrafter, Drafter, EagerDrafter)):
        prompt = doubled(seed)
        drafter = kind(CHEAP, TEXTS[text]())
        got = stream_tokens(POLICIES[name](), True, prompt, 30, required, drafter)
        assert got == full_depth(seed, required)


def doubled(seed: int) -> list[int]:
    """A prompt that says the same twice, so that it has something to offer."""
    return random.Random(seed).choices(range(2, WORDS), k=4 + 14 * seed) * 2


@functools.cache
def full_depth(seed: int, required: bytes) -> list[int]:
    return stream_tokens(Full(), False, doubled(seed), 30, required)


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
    drafter = Drafter(CHEAP, None, math.inf)

    def guess(context: Sequence[int]) -> int | None:
        known = {tuple([*prompt, *expected[:i]][-8:]): expected[i] for i in range(len(expected))}
        right = known.get(tuple(context), END)
        return right if generator.random() < share else generator.randrange(WORDS)

    drafter.lookup = Guesses(guess, chance)
    assert stream_tokens(Scripted(itertools.cycle(answers)), True, prompt, 24, b"", drafter) == expected


def always_right(prompt: Sequence[int], expected: Sequence[int]) -> Callable[[Sequence[int]], int | None]:
    """Knows what follows. Where a context comes twice, the answer for the later one is given."""
    whole = [*prompt, *expected]
    known = {tuple(whole[max(0, i - 8) : i]): whole[i] for i in range(len(prompt), len(whole))}
    return lambda context: known.get(tuple(context))


def test_the_work_of_a_verification_is_counted() -> None:
    """Right drafts: 20 tokens in two passes, with a row a token; each layer runs once a pass over all that is new."""
    prompt = [1, 300, 40, 41, 42, 43, 44, 45, 46, 47]
    expected = stream_tokens(Full(), False, prompt, 20)
    stairs, effort = Staircase(DECODER), Effort()
    stairs.append(prompt)
    drafter = EagerDrafter(CHEAP, Guesses(always_right(prompt, expected)))
    stream = exact(stairs, Full(), CHOOSER, b"", effort, drafter=drafter, max_tokens=20)
    got = list(itertools.islice(stream, 20))
    assert [token for token, _ in got] == expected
    assert {depth for _, depth in got} == {LAYERS}
    assert drafter.verifications == 2
    assert (stairs.runs, effort.heads, effort.head_rows) == (2 * LAYERS, 2, 20)
    assert stairs.evaluations == LAYERS * (len(prompt) - 1 + 20)


def test_wrong_drafts_cost_their_rows_and_are_forgotten() -> None:
    prompt = [1, 300, 40]
    expected = stream_tokens(Full(), False, prompt, 6)
    stairs, effort = Staircase(DECODER), Effort()
    stairs.append(prompt)
    wrong = Guesses(lambda context: (expected[0] + 1) % WORDS if len(context) < 4 else NONE)
    stream = exact(stairs, Full(), CHOOSER, b"", effort, drafter=Drafter(CHEAP, wrong))
    got = [token for token, _ in itertools.islice(stream, 6)]
    assert got == expected
    assert stairs.tokens == [*prompt, *expected[:-1]]
    assert (stairs.runs, effort.heads, effort.head_rows) == (6 * LAYERS, 6, 7)
    assert stairs.evaluations == LAYERS * (len(prompt) + 1 + 5)


@pytest.mark.parametrize("policy", [Full(), Fixed((2,)), Confidence((2, 4), 0.0)])
def test_a_session_spends_little_more_than_full_depth_however_wrong_the_drafts_are(policy: Policy) -> None:
    """Text is always wrong and always sure of itself, exits are those of random weights; over many completions."""
    prices = Prices(LAYERS, run=1.0, few=0.1, evaluation=0.1, head=0.5, head_row=0.1)
    drafter = Drafter(prices, Guesses(lambda _: END, 0.99))
    spent = full = 0.0
    for seed in range(8):
        prompt = doubled(seed)
        stairs, effort = Staircase(DECODER), Effort()
        stairs.append(prompt)
        tokens = [
            t for t, _ in itertools.islice(exact(stairs, policy, CHOOSER, b"", effort, drafter=drafter), 9)
        ]
        assert END not in tokens
        spent += price_of(stairs, effort)
        full += 9 * (LAYERS + 0.5 + 0.1) + 0.1 * LAYERS * (len(prompt) - 1 + 9)
        assert spent <= 1.02 * full
    assert drafter.spent == pytest.approx(spent)


def price_of(stairs: Staircase, effort: Effort) -> float:
    return stairs.runs + 0.1 * stairs.evaluations + 0.5 * effort.heads + 0.1 * effort.head_rows


@pytest.mark.parametrize(
    "policy", [Full(), Fixed((2,)), Fixed((4,)), Confidence((2, 4), 0.05), Confidence((4,), 1.0)]
)
def test_wrong_drafts_cost_little_in_fast_and_in_what_comes_after_it(policy: Policy) -> None:
    """Text is always wrong and always sure of itself. Beside the same without drafts, over many completions."""
    prices = Prices(LAYERS, run=1.0, few=0.1, evaluation=0.1, head=0.5, head_row=0.1)
    drafter = Drafter(prices, Guesses(lambda _: END, 0.99))
    alone = spent = full = 0.0
    for seed in range(24):
        prompt = doubled(seed % 4)
        stairs, effort = Staircase(DECODER), Effort()
        stairs.append(prompt)
        if seed < 16:
            stream = fast(stairs, policy, CHOOSER, b"", effort, drafter=drafter)
            plain, plain_effort = Staircase(DECODER), Effort()
            plain.append(prompt)
            list(itertools.islice(fast(plain, policy, CHOOSER, b"", plain_effort), 9))
            alone += price_of(plain, plain_effort)
        else:
            stream = exact(stairs, Full(), CHOOSER, b"", effort, drafter=drafter)
            alone += 9 * (LAYERS + 0.5 + 0.1) + 0.1 * LAYERS * (len(prompt) - 1 + 9)
        assert END not in [token for token, _ in itertools.islice(stream, 9)]
        spent += price_of(stairs, effort)
        full += 9 * (LAYERS + 0.5 + 0.1) + 0.1 * LAYERS * (len(prompt) - 1 + 9)
        assert spent - alone <= 0.02 * full
    assert drafter.full == pytest.approx(full)


def test_a_policy_that_always_goes_on_does_not_keep_drafts_away() -> None:
    """What it costs to ask it is not what drafts lose."""
    prices = Prices(LAYERS, run=1.0, few=0.1, evaluation=0.1, head=0.5, head_row=0.1)
    drafter, policy = Drafter(prices, Guesses(lambda _: NONE)), Confidence((2, 4), 1.0)
    prompt, expected = doubled(1), full_depth(1, b"")
    for knowing in (False, True):
        stairs, effort = Staircase(DECODER), Effort()
        stairs.append(prompt)
        if knowing:
            drafter.lookup = Guesses(always_right(prompt, expected))
        stream = fast(stairs, policy, CHOOSER, b"", effort, drafter=drafter, max_tokens=20)
        assert [token for token, _ in itertools.islice(stream, 20)] == expected[:20]
        assert stairs.runs == LAYERS * (2 if knowing else 20)


def test_tokens_that_nobody_takes_are_no_saving() -> None:
    """A stop rule ends each completion after its first token, whatever was verified with it."""
    prices = Prices(LAYERS, run=1.0, few=0.1, evaluation=0.1, head=0.5, head_row=0.1)
    drafter = Drafter(prices, None)
    spent = full = 0.0
    for seed in range(12):
        prompt = doubled(seed % 4)
        drafter.lookup = Guesses(always_right(prompt, full_depth(seed % 4, b"")))
        stairs, effort = Staircase(DECODER), Effort()
        stairs.append(prompt)
        stream = exact(stairs, Full(), CHOOSER, b"", effort, drafter=drafter, max_tokens=20)
        assert next(stream)[0] == full_depth(seed % 4, b"")[0]
        stream.close()
        spent += price_of(stairs, effort)
        full += LAYERS + 0.5 + 0.1 + 0.1 * LAYERS * len(prompt)
        assert (drafter.spent, drafter.full) == pytest.approx((spent, full))
        assert spent <= 1.02 * full


@pytest.mark.parametrize("chance", [0.3, 0.6, 0.9])
def test_drafting_stops_where_the_expected_gain_does(chance: float) -> None:
    """At a row's price of r whole passes, as many drafts are taken as powers of the chance are over r."""
    prices = Prices(LAYERS, run=1.0, few=0.1, evaluation=0.1, head=0.5, head_row=0.4)
    by_hand = sum(chance**k > 1.0 / (6 + 0.5 + 1.0) for k in range(1, MAX_DRAFTS + 1))
    stairs = Staircase(DECODER)
    stairs.append([1, 2])
    drafter = Drafter(prices, Guesses(lambda _: 5, chance), math.inf)
    bounds, full = (prices, prices), prices.first(2 * LAYERS)
    drafts, unsure = draft(
        stairs, Full(), CHOOSER, b"", Effort(), lambda _: False, drafter, MAX_DRAFTS, bounds, full
    )
    assert (len(drafts), unsure) == (by_hand, None)
    assert stairs.tokens == [1, 2] + [5] * by_hand


def test_exits_that_do_not_pay_are_not_even_asked() -> None:
    policy, effort = Scripted(itertools.cycle([True])), Effort()
    stairs = Staircase(DECODER)
    stairs.append([1, 5, 7])
    dear = Prices(LAYERS, run=1.0, head=6.0)
    got = list(itertools.islice(exact(stairs, policy, CHOOSER, b"", effort, drafter=Drafter(dear, None)), 5))
    assert [depth for _, depth in got] == [LAYERS] * 5
    assert (effort.decisions, effort.heads, effort.head_rows) == (0, 5, 5)
    assert not policy.seen


def test_an_exit_that_is_never_sure_is_left_alone_after_a_while() -> None:
    """Also of tokens in which the exit had too little confidence it is learned that they come up, and how right they are."""
    drafter = Drafter(Prices(LAYERS, run=1.0, head=2.0), None, math.inf)
    policy = Scripted(itertools.cycle([True]), exits=(2,))
    stairs = Staircase(DECODER)
    stairs.append([1, 5, 7])
    effort = Effort()
    tokens = list(itertools.islice(exact(stairs, policy, CHOOSER, b"", effort, drafter=drafter), 60))
    record = drafter.record(2)
    assert 0 < len(policy.seen) < 10
    assert sum(rate.asked for rate in record.rates) == pytest.approx(5 * 8 + len(policy.seen))
    assert sum(record.seen) == pytest.approx(8 + len(policy.seen))
    assert effort.heads == len(policy.seen) + drafter.verifications
    assert drafter.worth_asking(policy, 1.0, 1) == {}
    assert tokens[-1][1] == LAYERS


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", POLICIES)
def test_nothing_is_drafted_beyond_the_end(name: str, text: str) -> None:
    """Whoever goes on after an end all the same gets the tokens of full depth."""
    for seed in range(3):
        prompt, expected = doubled(seed), full_depth(seed, b"")
        end = expected[4]
        stairs, effort = Staircase(DECODER), Effort()
        stairs.append(prompt)
        drafter = EagerDrafter(CHEAP, TEXTS[text]())
        if drafter.lookup is not None:
            drafter.lookup.document.follow(prompt)
        stream = exact(stairs, POLICIES[name](), CHOOSER, b"", effort, lambda t: t == end, drafter)  # noqa: B023
        got = []
        for token, _ in stream:
            got.append(token)
            if token == end:
                assert len(stairs) <= len(prompt) + len(got)
            if len(got) == 30:
                break
        assert got == expected


@pytest.mark.parametrize("most", [1, 2, 5, 17, 30])
def test_nothing_is_drafted_beyond_the_tokens_asked_for(most: int) -> None:
    prompt = [1, 300, 40, 41, 42, 43, 44, 45, 46, 47]
    expected = stream_tokens(Full(), False, prompt, 30)
    stairs, effort = Staircase(DECODER), Effort()
    stairs.append(prompt)
    drafter = EagerDrafter(CHEAP, Guesses(always_right(prompt, expected)))
    stream = exact(stairs, Full(), CHOOSER, b"", effort, drafter=drafter, max_tokens=most)
    assert [token for token, _ in itertools.islice(stream, most)] == expected[:most]
    assert len(stairs) <= len(prompt) + most
    assert effort.head_rows == most
    assert effort.heads == -(-most // (MAX_DRAFTS + 1))


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
    stairs = Staircase(decoder)
    stairs.append(prompt[0].tolist())
    got = []
    for _ in range(24):
        got.append(int(decoder.logits(stairs.advance(len(stairs) - 1, decoder.config.layers)).argmax()))
        stairs.append(got[-1:])
    assert got == expected.tolist()


def test_fast_decodes_from_the_exit_that_the_policy_chose() -> None:
    policy = Scripted(itertools.cycle([False, True]))
    stairs = Staircase(DECODER)
    stairs.append([1, 5, 7])
    effort = Effort()
    token, depth = next(fast(stairs, policy, CHOOSER, b"", effort))
    assert depth == 3
    assert token == int(DECODER.logits(stairs.states(2, 3)[0]).argmax())
    assert (effort.heads, effort.decisions) == (1, 2)
    assert policy.seen[0].debt == 3 * 4  # three positions wait below four layers


@dataclass(frozen=True)
class Reckoning:
    """Stops by what it sees at its one exit, the debt included."""

    exits: tuple[int, ...] = (3,)
    network_runs: int = 1

    def stop(self, view: View) -> bool:
        return (view.top.token + view.debt // (LAYERS - 3)) % 3 > 0


DECIDERS: dict[str, Policy] = {
    "full": Full(),
    "fixed": Fixed((4,)),
    "confident": Confidence((2, 4), 0.05),
    "by the debt": Reckoning(),
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", DECIDERS)
@pytest.mark.parametrize("required", [b"", b"re"])
def test_drafts_change_nothing_in_fast(name: str, required: bytes, text: str) -> None:
    """Tokens and the depths that gave them; layers never run more often than without."""
    depths = set()
    for seed in range(3):
        prompt = doubled(seed)
        alone = Staircase(DECODER)
        alone.append(prompt)
        plain = fast(alone, DECIDERS[name], CHOOSER, required, Effort())
        stairs, drafter = Staircase(DECODER), EagerDrafter(CHEAP, TEXTS[text]())
        stairs.append(prompt)
        if drafter.lookup is not None:
            drafter.lookup.document.follow(prompt)
        drafted = fast(stairs, DECIDERS[name], CHOOSER, required, Effort(), drafter=drafter)
        expected = list(itertools.islice(plain, 30))
        assert list(itertools.islice(drafted, 30)) == expected
        assert stairs.runs <= alone.runs
        depths |= {depth for _, depth in expected}
    assert name != "by the debt" or depths == {3, LAYERS}


def test_a_right_draft_saves_a_pass_to_the_exit() -> None:
    """20 tokens in two passes that end at the exit; deeper layers are not run at all."""
    prompt = [1, 300, 40, 41, 42, 43, 44, 45, 46, 47]
    stairs, effort = Staircase(DECODER), Effort()
    stairs.append(prompt)
    expected = list(itertools.islice(fast(stairs, Fixed((4,)), CHOOSER, b"", Effort()), 20))
    knowing = Guesses(always_right(prompt, [token for token, _ in expected]))
    stairs = Staircase(DECODER)
    stairs.append(prompt)
    drafter = EagerDrafter(CHEAP, knowing)
    stream = fast(stairs, Fixed((4,)), CHOOSER, b"", effort, drafter=drafter, max_tokens=20)
    assert list(itertools.islice(stream, 20)) == expected == [(token, 4) for token, _ in expected]
    assert (stairs.runs, effort.heads, effort.head_rows) == (2 * 4, 2, 20)
    assert stairs.evaluations == 4 * (len(prompt) - 1 + 20)


def test_exits_run_fewer_layers_and_drafts_keep_their_states() -> None:
    prompt = [1, 9, 8, 7]
    stairs = Staircase(DECODER)
    stairs.append(prompt)
    list(itertools.islice(fast(stairs, Fixed((2,)), CHOOSER, b"", Effort()), 5))
    assert stairs.evaluations == 2 * (len(prompt) + 4)
    stairs = Staircase(DECODER)
    stairs.append(prompt)
    verified = list(itertools.islice(exact(stairs, Full(), CHOOSER, b"", Effort()), 5))
    assert stairs.evaluations == 6 * (len(prompt) + 4)
    assert [depth for _, depth in verified] == [6] * 5


def test_healing_spells_the_word_again() -> None:
    prompt = [VOCABULARY.bos or 0, *VOCABULARY.encode("x = ret")]
    keep, required = heal(prompt, VOCABULARY)
    assert required == b"ret"
    tokens = stream_tokens(Full(), False, keep, 12, required)
    assert VOCABULARY.decode_bytes(tokens).startswith(b"ret")
    assert heal([1, *VOCABULARY.encode("x\n")], VOCABULARY)[1] == b""  # nothing goes on after a line break


def run(**changes: object) -> Generated:
    stairs = Staircase(DECODER)
    stairs.append([1, 5, 7])
    arguments = {
        "exactly": False,
        "required": b"",
        "situation": None,
        "max_tokens": 6,
        "deadline": time.monotonic() + 60,
    }
    result = Generated()
    generate(result, stairs, VOCABULARY, CHOOSER, Full(), **{**arguments, **changes})  # type: ignore[arg-type]
    return result


def test_limits_give_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run()
    assert (result.reason, len(result.tokens)) == ("max_tokens", 6)
    assert run(deadline=time.monotonic() - 1).reason == "budget"
    end = result.tokens[-1]
    monkeypatch.setattr(VOCABULARY, "eos", frozenset((end,)))
    said = result.tokens[: result.tokens.index(end)]
    knowing = always_right([1, 5, 7], result.tokens)
    for exactly in (False, True):
        drafter = EagerDrafter(CHEAP, Guesses(knowing))
        ended = run(max_tokens=60, exactly=exactly, drafter=drafter)
        assert (ended.reason, ended.tokens) == ("end_of_text", said)
        assert ended.effort.passes == len(said) + 1
        assert ended.effort.head_rows == len(said) + 1  # nothing is drafted after the end


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
