"""`exact` gives the tokens of full depth whatever the policy does; `full` gives those of transformers."""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import dataclass, field

import pytest
import torch

from green_code.decoding.exits import Confidence, Fixed, Full, Policy, View, parse_policy
from green_code.decoding.generate import Effort, Generated, exact, fast, generate
from green_code.decoding.healing import Chooser, heal
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


def stream_tokens(
    policy: Policy, verify: bool, prompt: list[int], count: int, required: bytes = b""
) -> list[int]:
    stairs = Staircase(DECODER)
    stairs.append(prompt)
    stream = (exact if verify else fast)(stairs, policy, CHOOSER, required, Effort())
    return [token for token, _ in itertools.islice(stream, count)]


POLICIES = {
    "never": lambda: Scripted(itertools.cycle([False])),
    "always": lambda: Scripted(itertools.cycle([True])),
    "in turn": lambda: Scripted(itertools.cycle([True, False, False])),
    "at random": lambda: Scripted(itertools.cycle(random.Random(1).choices([True, False], k=97))),
    "fixed": lambda: Fixed((4,)),
    "confident": lambda: Confidence((2, 4), 0.05),
}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("required", [b"", b"re", b"  "])
def test_exact_equals_full(name: str, required: bytes) -> None:
    for seed in range(8):
        prompt = random.Random(seed).choices(range(2, 370), k=3 + 9 * seed)
        expected = stream_tokens(Full(), False, prompt, 40, required)
        assert stream_tokens(POLICIES[name](), True, prompt, 40, required) == expected


@pytest.mark.parametrize("name", POLICIES)
def test_nothing_is_drafted_beyond_the_end(name: str) -> None:
    """Whoever goes on after an end all the same gets the tokens of full depth."""
    for seed in range(6):
        prompt = random.Random(seed).choices(range(2, 370), k=5 + 7 * seed)
        expected = stream_tokens(Full(), False, prompt, 30)
        end = expected[4]
        stairs, effort = Staircase(DECODER), Effort()
        stairs.append(prompt)
        stream = exact(stairs, POLICIES[name](), CHOOSER, b"", effort, lambda token: token == end)  # noqa: B023
        got = []
        for token, _ in stream:
            got.append(token)
            if token == end:
                assert len(stairs) <= len(prompt) + len(got)
            if len(got) == 30:
                break
        assert got == expected


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


def run(**changes: object) -> object:
    stairs = Staircase(DECODER)
    stairs.append([1, 5, 7])
    arguments = {
        "verify": False,
        "required": b"",
        "situation": None,
        "max_tokens": 6,
        "deadline": time.monotonic() + 60,
    }
    result = Generated()
    generate(result, stairs, VOCABULARY, CHOOSER, Full(), **{**arguments, **changes})  # type: ignore[arg-type]
    return result


def test_limits_give_their_reason() -> None:
    result = run()
    assert (result.reason, len(result.tokens)) == ("max_tokens", 6)  # type: ignore[attr-defined]
    assert run(deadline=time.monotonic() - 1).reason == "budget"  # type: ignore[attr-defined]
    assert run(max_tokens=60).reason == "end_of_text"  # type: ignore[attr-defined]


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
