"""The error rate that the guarantee promises, on data where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from green_code.agent.risk import LEVEL, certified, p_value


def test_p_value_is_that_of_a_paired_test() -> None:
    """Against scipy's one-sided t-test, which for many rows is the normal one."""
    random = np.random.default_rng(0)
    full = random.uniform(0, 100, 2000)
    fast = full - random.normal(1.0, 10, 2000)
    excess = full - fast - 0.02 * full
    wanted = stats.ttest_1samp(excess, 0, alternative="less").pvalue
    assert p_value(full.tolist(), fast.tolist(), 0.02) == pytest.approx(wanted, abs=1e-3)


def test_equal_scores_lose_nothing() -> None:
    assert p_value([50.0, 60.0], [50.0, 60.0], 0.01) < LEVEL
    assert p_value([0.0, 0.0], [0.0, 0.0], 0.01) == 1.0  # nothing was scored: nothing is known


def test_testing_ends_at_the_first_that_stands() -> None:
    assert certified([0.01, 0.04, 0.2, 0.001]) == 2
    assert certified([0.3]) == 0
    assert certified([0.01, 0.01]) == 2


def test_a_threshold_that_loses_too_much_is_seldom_certified() -> None:
    """Losses grow as thresholds fall; at most a twentieth of calibrations may choose one beyond the bound."""
    random = np.random.default_rng(1)
    losses, allowed, wrong, rounds = (0.0, 0.5, 1.0, 1.5, 3.0), 0.02, 0, 400
    for _ in range(rounds):
        full = random.uniform(0, 100, 300)  # mean 50: a loss of 1.0 is what is allowed
        tests = [p_value(full.tolist(), (full - random.normal(x, 8, 300)).tolist(), allowed) for x in losses]
        wrong += certified(tests) > 3
    assert wrong / rounds <= LEVEL + 0.02
