"""The error rate that the guarantee promises, on data where the truth is known, and the power to certify what loses little."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from green_code_lab.agent.risk import LEVEL, certified, p_value

Draw = Callable[[np.random.Generator, float, int], np.ndarray]


def gaussian(random: np.random.Generator, mean: float, rows: int) -> np.ndarray:
    return random.normal(mean, 8, rows)


def sparse(random: np.random.Generator, mean: float, rows: int) -> np.ndarray:
    """Nearly all rows lose nothing; a few lose all of 50."""
    return 50.0 * (random.random(rows) < mean / 50)


@pytest.mark.parametrize("draw", [gaussian, sparse])
@pytest.mark.parametrize("allowed", [0.01, 0.05])
def test_a_loss_at_the_bound_is_seldom_certified(draw: Draw, allowed: float) -> None:
    random, rounds = np.random.default_rng(1), 400
    full = np.full(600, 50.0)
    ps = [p_value(full.tolist(), (full - draw(random, 50 * allowed, 600)).tolist(), allowed) for _ in range(rounds)]
    assert np.mean(np.array(ps) <= LEVEL) <= LEVEL + 2 * (LEVEL * (1 - LEVEL) / rounds) ** 0.5


def test_what_loses_much_less_than_allowed_is_certified() -> None:
    random = np.random.default_rng(2)
    full = np.full(600, 50.0)
    assert p_value(full.tolist(), (full - sparse(random, 0.3, 600)).tolist(), 0.05) <= LEVEL
    assert p_value(full.tolist(), full.tolist(), 0.05) <= LEVEL


def test_nothing_is_known_from_nothing() -> None:
    assert p_value([], [], 0.01) == 1.0
    assert p_value([0.0, 0.0], [0.0, 0.0], 0.01) == 1.0


def test_testing_ends_at_the_first_that_stands() -> None:
    assert certified([0.01, 0.04, 0.2, 0.001]) == 2
    assert certified([0.3]) == 0
    assert certified([0.01, 0.01]) == 2


def test_the_chance_to_certify_any_that_loses_too_much_is_bounded() -> None:
    """Losses grow as thresholds fall; the third is at the bound, and is the first that must not be certified."""
    random = np.random.default_rng(3)
    losses, allowed, wrong, rounds = (0.0, 0.3, 1.0, 1.5, 3.0), 0.02, 0, 300
    full = np.full(600, 50.0).tolist()
    for _ in range(rounds):
        tests = [p_value(full, (np.array(full) - sparse(random, x, 600)).tolist(), allowed) for x in losses]
        wrong += certified(tests) > 2
    assert wrong / rounds <= LEVEL + 0.025
