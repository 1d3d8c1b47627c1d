"""Completions under a stop policy, from streams of tokens with given probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from green_code.decoding.drafter import Drafter
from green_code.decoding.exit_policies import Full
from green_code.decoding.generate import Generated, generate, refusal
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.speculative import decode
from green_code.decoding.stop_rules import Situation
from green_code.decoding.stopping import RunningProduct, StopPolicy, StopView
from green_code.decoding.verifier import Decoded, Verifier
from tests.decoding.scripted_drafts import CHOOSER, END_OF_TEXT, LAYERS, VOCABULARY, full_depth_tokens, new_cache

Part = tuple[str, float]
"""The text of a token, or of several of which the first has the probability; and that."""


def run(
    parts: Sequence[Part],
    stop: StopPolicy | None,
    required: str = "",
    before: str = "x = ",
    lines: int = 1,
    cache: KVCache | None = None,
) -> Generated:
    decoded = list[Decoded]()
    for text, probability in parts:
        tokens = VOCABULARY.encode(text) if text else [END_OF_TEXT]
        odds = [math.log(probability / (1 - probability))] + [20.0] * (len(tokens) - 1)
        decoded += [Decoded(token, LAYERS, each, 2) for token, each in zip(tokens, odds, strict=True)]
    result, situation = Generated(), Situation.at(before, "", lines == 1, lines)
    generate(
        result, cache or new_cache([1, 5, 7]), iter(decoded), VOCABULARY, required=required.encode(),
        situation=situation, stop=stop, max_tokens=100, deadline=math.inf,
    )  # fmt: skip
    return result


PARTS = [("first", 0.9), (" +", 0.8), (" second", 0.7), (" *", 0.9), (" third", 0.5), ("\n", 0.9)]


@pytest.mark.parametrize(
    ("threshold", "text", "confidence"),
    [
        (0.0, "first + second * third", 0.9 * 0.8 * 0.7 * 0.9 * 0.5),
        (0.2, "first + second * third", 0.9 * 0.8 * 0.7 * 0.9 * 0.5),
        (0.3, "first + second *", 0.9 * 0.8 * 0.7 * 0.9),
        (0.48, "first + second", 0.9 * 0.8 * 0.7),
        (0.71, "first +", 0.9 * 0.8),
        (0.89, "first", 0.9),
        (0.95, "", 1.0),
    ],
)
def test_a_completion_ends_where_the_running_product_falls_under_the_threshold(
    threshold: float, text: str, confidence: float
) -> None:
    result = run(PARTS, RunningProduct(threshold) if threshold else None)
    assert result.text == text
    assert result.confidence == pytest.approx(confidence, rel=1e-6)
    shown = len(VOCABULARY.encode(text))
    if threshold <= 0.2:
        assert (result.reason, result.passes) == ("end_of_line", shown + 1)
    else:
        assert result.reason == ("unsure" if text else "unlikely")
        assert result.passes > len(result.tokens) >= shown, "the refused token was decoded, too"


def test_tokens_that_only_spell_what_is_there_count_nothing() -> None:
    """The first token goes beyond the required bytes in one case, and in the other it does not."""
    beyond = run([("self", 0.5), (".second", 0.9), ("\n", 0.99)], RunningProduct(0.4), required="se")
    assert (beyond.text, beyond.confidence) == ("lf.second", pytest.approx(0.45, rel=1e-6))
    spelled = run(
        [("s", 0.1), ("e", 0.1), ("l", 0.5), ("f.second", 0.9), ("\n", 0.99)], RunningProduct(0.4), required="se"
    )
    assert (spelled.text, spelled.confidence) == ("lf.second", pytest.approx(0.45, rel=1e-6))


def test_the_end_of_the_text_is_no_part_of_it() -> None:
    result = run([("first", 0.9), ("", 0.1)], RunningProduct(0.5))
    assert (result.text, result.reason, result.confidence) == ("first", "end_of_text", pytest.approx(0.9, rel=1e-6))


def test_confidence_is_that_of_the_tokens_that_are_kept() -> None:
    result = run([("first", 0.9), ("(", 0.8), ("second", 0.9), (", ", 0.9), ("third", 0.5)], RunningProduct(0.4))
    assert (result.text, result.reason, result.confidence) == ("first", "unsure", pytest.approx(0.9, rel=1e-6))


TWO_LINES = [("first()", 0.9), ("\n", 0.99), ("second()", 0.5), ("\n", 0.99), ("third()", 0.99), ("\n", 0.99)]


@pytest.mark.parametrize("before", ["", "x = "])
def test_a_completion_goes_on_over_a_line_end_only_while_it_is_sure(before: str) -> None:
    result = run(TWO_LINES, RunningProduct(0.2), before=before, lines=8)
    assert (result.text, result.reason) == ("first()\nsecond()", "end_of_line")
    assert result.confidence == pytest.approx(0.9 * 0.99 * 0.5, rel=1e-6)
    assert run([("first()", 0.7), *TWO_LINES[1:]], RunningProduct(0.2), before=before, lines=8).text == "first()"
    without = run(TWO_LINES, None, before=before, lines=3)
    assert (without.text, without.reason) == ("first()\nsecond()\nthird()", "end_of_block")


def test_leading_line_breaks_pass_where_the_line_is_blank() -> None:
    parts = [("\n", 0.7), ("\n    ", 0.9), ("first()", 0.9), ("\n", 0.9)]
    blank = run(parts, RunningProduct(0.2), before="    ", lines=8)
    assert (blank.text.strip(), blank.reason) == ("first()", "end_of_line")
    assert run(parts, RunningProduct(0.2), before="x = 1", lines=8).text == ""


def test_blank_lines_are_no_line_ends() -> None:
    parts = [("first()", 0.9), ("\n", 0.9), ("\n", 0.9), ("second()", 0.99), ("\n", 0.99)]
    assert run(parts, RunningProduct(0.2), lines=8).text == "first()\n\nsecond()"


@dataclass
class Script:
    """Refuses as it is told, never stops, and records what it is asked."""

    refused: bool
    after: int = 0  # answers
    depths: tuple[int, ...] = (2,)
    threshold: float = 0.0
    views: list[StopView] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def refusal(self) -> Any:
        return self

    def refuses(self, cache: KVCache, position: int, depth: int) -> bool:
        assert cache.depth(position) == depth
        self.asked.append((position, depth))
        return self.refused and len(self.asked) > self.after

    def right(self, cache: KVCache, view: StopView) -> float:
        self.views.append(view)
        return view.product


def decoded_with(policy: StopPolicy, cache: KVCache, required: bytes = b"") -> Generated:
    """At full depth, from the model itself."""
    result = Generated()
    drafter = Drafter.without_drafts(LAYERS, CHOOSER)
    stream = decode(cache, drafter, Verifier(Full(), CHOOSER), required, refuses=refusal(result, cache, policy))
    generate(
        result, cache, stream, VOCABULARY, required=required, situation=Situation.at("x = ", "", True, 1), stop=policy,
        max_tokens=6, deadline=math.inf,
    )  # fmt: skip
    return result


PROMPT = [1, 5, 7]


def test_a_policy_is_asked_at_its_depth_before_anything_is_decoded() -> None:
    policy, cache = Script(refused=True), new_cache(PROMPT)
    result = decoded_with(policy, cache)
    assert (result.refused, result.text, result.reason, result.passes) == (True, "", "unlikely", 0)
    assert (policy.asked, policy.views) == ([(2, 2)], [])
    assert (cache.work.layer_positions, cache.work.layer_batches, cache.work.head_batches) == (2 * 3, 2, 0)


@pytest.mark.parametrize(
    ("held", "after", "asked"),
    [(0, 0, [(2, 1)]), (0, 1, [(2, 1), (2, 3)]), (1, 0, [(2, 1)]), (2, 0, [(2, 3)]), (3, 0, [(2, 3)])],
)
def test_at_each_depth_that_a_position_has_not_passed_it_may_be_refused(
    held: int, after: int, asked: list[tuple[int, int]]
) -> None:
    """And no layer above runs."""
    policy, cache = Script(refused=True, after=after, depths=(1, 3)), new_cache(PROMPT)
    if held:
        cache.advance(2, held)
    result = decoded_with(policy, cache)
    assert result.refused and policy.asked == asked
    depth = asked[-1][1]
    assert cache.work.layer_positions == 3 * max(held, depth) and cache.depth(2) == max(held, depth)


def test_once_there_is_text_nobody_is_asked_whether_to_refuse() -> None:
    policy = Script(refused=False)
    result = decoded_with(policy, new_cache(PROMPT))
    assert result.passes > 1 and not result.refused and policy.asked == [(2, 2)]


def test_what_is_deep_already_is_not_refused() -> None:
    policy, cache = Script(refused=True), new_cache(PROMPT)
    cache.advance(2, 3)
    result = decoded_with(policy, cache)
    assert result.tokens and not result.refused and policy.asked == []


def test_a_refusal_comes_behind_tokens_that_only_spell_what_is_there() -> None:
    """At the position before such a token, the policy says no."""
    required, only_spells = next(
        (spelled, token)
        for token, spelled in enumerate(VOCABULARY.token_bytes)
        if spelled and full_depth_tokens(PROMPT, 1, spelled) == [token]
    )
    policy, cache = Script(refused=True, after=1), new_cache(PROMPT)
    result = decoded_with(policy, cache, required)
    assert (result.refused, result.text, result.reason) == (True, "", "unlikely")
    assert (result.tokens, result.passes) == ([only_spells], 1)
    assert policy.asked == [(2, 2), (3, 2)] and policy.views == []
    assert [cache.depth(i) for i in range(4)] == [LAYERS - 1, LAYERS - 1, LAYERS, 2]


def test_a_policy_knows_the_completion_so_far() -> None:
    policy = Script(refused=False)
    result = run(PARTS, policy)
    assert result.text == "first + second * third"
    for i, view in enumerate(policy.views):
        assert (view.tokens, view.decoded.token) == (i, result.tokens[i])
        assert view.characters == len(VOCABULARY.decode(result.tokens[:i]))
    assert policy.views[-1].product == pytest.approx(0.9 * 0.8 * 0.7 * 0.9 * 0.5 * 0.9, rel=1e-6)
