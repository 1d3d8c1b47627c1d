"""Depth, agreement and cost of rules whose outcome is plain, and comparison at equal cost."""

from __future__ import annotations

import numpy as np
import pytest

from green_code_lab.agent.baselines import (
    Baseline,
    Score,
    at_equal_cost,
    best_family,
    compare,
    confidence,
    fixed,
    full_depth,
    oracle,
)
from green_code_lab.agent.episodes import REQUESTS
from green_code_lab.agent.prices import TokenPrices
from green_code_lab.agent.rollouts import Rollouts
from tests.lab.agent.replayed import rollouts, same, typing

PRICES = TokenPrices(
    layer_batch=0.1,
    small_batch_position=0.004,
    layer_position=0.01,
    kv_only=0.001,
    head_batch=0.2,
    decision=0.03,
    error=5.0,
)


def baseline(how: str, data: Rollouts) -> Baseline:
    return {
        "oracle": oracle(),
        "exit 2": fixed(data, 2),
        "exit 4": fixed(data, 4),
        "full": full_depth(),
        "confidence": confidence(0.5),
    }[how]


def score(how: str, data: Rollouts) -> Score:
    return compare([baseline(how, data)], data, PRICES, typing([1]), None)[0]


@pytest.mark.parametrize(
    ("tokens", "final", "source", "how", "depth", "agreement"),
    [
        ([7, 7], 7, 7, "oracle", 2, 1),
        ([1, 7], 7, 3, "oracle", 4, 1),
        ([1, 2], 7, 7, "oracle", 6, 1),  # right beyond the last exit
        ([3, 7], 7, 3, "oracle", 2, 0),  # the source's token is right too
        ([7, 1], 7, 7, "oracle", 2, 1),  # agreement that is lost again
        ([1, 7], 7, 7, "exit 2", 2, 0),
        ([1, 7], 7, 7, "exit 4", 4, 1),
        ([1, 2], 7, 7, "full", 6, 1),
        ([1, 7], 7, 7, "confidence", 4, 1),
    ],
)
def test_outcomes(tokens: list[int], final: int, source: int, how: str, depth: float, agreement: float) -> None:
    result = score(how, same(tokens, final, source))
    assert (result.depth, result.agreement, result.whole) == (depth, agreement, agreement)


def test_costs_by_hand() -> None:
    """One request of four tokens, over and over: a cold prompt of one token, then one more each time."""
    data = same([1, 7], 7, 7)
    layer = 0.1 + 0.004  # one position
    assert score("full", data).cost == pytest.approx(4 * (6 * layer + 0.2))
    # Every position waits below layer 4 … 6 and never runs; each advances alone to layer 4.
    assert score("exit 4", data).cost == pytest.approx(4 * (4 * layer + 0.2))
    assert score("exit 4", data).saving == pytest.approx(1 - (4 * layer + 0.2) / (6 * layer + 0.2))
    assert score("confidence", data).cost == pytest.approx(4 * (4 * layer + 2 * 0.2))  # a head at either exit
    assert score("exit 2", data).objective == pytest.approx(score("exit 2", data).cost + 4 * 2 * 5.0)


def test_accuracy_is_of_the_source_and_whole_of_what_the_model_wrote() -> None:
    tokens = np.full((8, 2), 7)
    tokens[1] = 1  # one token of the greedy chunk is wrong at both exits
    data = rollouts(tokens, np.full(8, 7), np.array([7, 7, 7, 7, 7, 7, 7, 3]))
    requests = typing([1])
    requests.first[:, 1::2] = 4  # the teacher-forced chunk
    result = compare([fixed(data, 2)], data, PRICES, requests, None)[0]
    assert result.whole == 0
    assert result.accuracy == 0.75
    assert result.agreement == pytest.approx(1 - 1 / 8)
    assert requests.first.size == REQUESTS


def test_equal_cost_lies_on_the_line_between_settings() -> None:
    curve = [Score("agent", str(c), c, c, 0, 0, a, 0, 0) for c, a in ((2.0, 0.9), (1.0, 0.7), (4.0, 1.0))]
    assert at_equal_cost(curve, 1.5, "agreement") == pytest.approx(0.8)
    assert at_equal_cost(curve, 3.0, "agreement") == pytest.approx(0.95)
    assert at_equal_cost(curve, 5.0, "agreement") is None


def test_the_best_family_serves_the_careful_as_well_as_the_bold() -> None:
    def point(family: str, cost: float, errors: float) -> Score:
        return Score(family, "", cost, cost + errors, 0, 0, 0, 0, 0)

    always = [point("always leaves", 9.5, 1.6)]
    graded = [point("graded", 9.6, 1.6), point("graded", 11.5, 0.2)]
    assert best_family([*always, *graded]) == "graded"
    assert best_family([*always, point("graded", 13.0, 0.0)]) == "always leaves"
