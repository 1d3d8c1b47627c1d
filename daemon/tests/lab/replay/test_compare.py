"""Tuning on records made by hand: the bound is chosen that the prices make the best."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from green_code.decoding.value_heads import MOST_CHARACTERS
from green_code.lsp.gate_features import NAMES
from green_code.work import Prices as WorkPrices
from green_code_lab.replay.compare import Policy, Replays, gate_of, replay, tune
from green_code_lab.replay.environment import Replayer
from green_code_lab.replay.objective import Prices, figures
from green_code_lab.replay.policies import running_product
from green_code_lab.replay.typist import Typed, type_span
from tests.decoding.networks import value_heads
from tests.lab.replay.by_hand import LAYERS, SPAN, WIDTH, Scripted, Token, records, synthetic

HALF_WRONG: list[Token] = [("total", 0.9), (" =", 0.8), (" second", 0.5)]
NOTHING: list[Token] = [("?", 0.01)]
PRICES = Prices(wrong=1.0, energy=0.0)
SILENT: dict[str, Any] = {"weights": [0.0] * len(NAMES), "bias": -9.0}
"""A gate that asks nowhere."""


def tuned(policy: Policy, of: Any, **bounds: Any) -> tuple[Policy, list[Typed]]:
    every = {"stops": (0.2,), "bounds": (), **bounds}
    return tune(Replays(of), policy, PRICES, every["stops"], every["bounds"])


def test_the_stop_is_chosen_that_ends_before_what_is_wrong() -> None:
    of = Replayer(*records([HALF_WRONG] + [NOTHING] * len(SPAN.text)), WorkPrices(), LAYERS)
    policy = Policy("rule", "", running_product(of.records), 0.0)
    chosen, typed = tuned(policy, of, stops=(0.1, 0.5, 0.95))
    assert (chosen.stop, chosen.setting) == (0.5, "stop 0.5")
    by_stop = {stop: replay(of, replace(policy, stop=stop))[0] for stop in (0.1, 0.5, 0.95)}
    assert PRICES.objective(typed[0]) == PRICES.objective(by_stop[0.5]) == typed[0].accepted == len("total =")
    assert [PRICES.objective(by_stop[stop]) for stop in (0.1, 0.95)] == [-1, 0]


@pytest.mark.parametrize("depth", [5, 9])
def test_value_heads_refuse_where_they_expect_less_than_the_bound(depth: int) -> None:
    of = synthetic(3, 0.5)
    heads = value_heads(WIDTH, (5, 9), len(NAMES))
    for part in heads.parameters.values():
        part[:] = 0
    policy = Policy("agent", "", running_product(of.records), 0.2, heads)
    without = replay(of, policy)
    assert min(each.shown for each in without) > 3
    assert replay(of, replace(policy, refusal={depth: MOST_CHARACTERS / 2 - 1})) == without
    refused = replay(of, replace(policy, refusal={depth: MOST_CHARACTERS / 2 + 1}))
    assert max(each.shown for each in refused) <= 1, "the first costs no layer, and so it is not refused"


def test_a_gate_is_chosen_where_asking_costs_more_than_it_brings() -> None:
    of = synthetic(3, 0.0)
    policy = Policy("rule + gate", "", running_product(of.records), 0.0, gate=SILENT)
    chosen, typed = tuned(policy, of, bounds=(0.1,))
    assert (chosen.bound, chosen.setting) == (0.1, "stop 0.2, gate 0.1")
    assert all(each.requests == 0 and each.gated > 0 for each in typed)


def test_a_gate_asks_where_its_logistic_regression_says_so() -> None:
    content = {"weights": [0.0] * len(NAMES), "bias": 1.0}
    content["weights"][NAMES.index("last_blank")] = -5.0  # type: ignore[index]
    suggester = Scripted({})
    done = type_span(SPAN, suggester, gate_of(content, 0.5))
    behind_blanks = [i for i in range(1, len(SPAN.text)) if SPAN.text[i - 1] == " "]
    assert done.gated >= len(behind_blanks) > 0 and not set(suggester.limits) & set(behind_blanks)


def test_figures_are_sums_over_files() -> None:
    first, second = Typed(SPAN, 10, accepted=4, shown=2, right=1, joules=2.0), Typed(SPAN, 30, shown=2, rejected=2, joules=6.0)  # fmt: skip
    assert figures([first, second]) == pytest.approx(
        {"accepted": 0.1, "right": 0.25, "joules_per_character": 2.0, "shown_per_100": 10.0, "rejected_per_100": 5.0}
    )
    assert Prices(2.0, 0.5).objective(second) == -2 * 2 - 0.5 * 6
