"""Intervals against what is known of medians in closed form, and pairs against what unpaired rounds would say."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from green_code_lab.benchmark.statistics import median, ratio


def bootstrap_share(rank: int, count: int) -> float:
    """P(the median of an odd number of draws is at most the rank-th smallest value), rank from 1.

    That is so where more than half of the draws are among the `rank` smallest: a binomial sum, without sampling.
    """
    p = rank / count
    return sum(comb(count, k) * p**k * (1 - p) ** (count - k) for k in range((count + 1) // 2, count + 1))


@pytest.mark.parametrize("count", [9, 13, 31])  # where no share is so near to an end that 4,000 draws miss it
def test_the_interval_ends_at_the_values_that_the_binomial_distribution_names(count: int) -> None:
    values = list(np.random.default_rng(count).permutation(np.arange(1.0, count + 1)))
    low = next(rank for rank in range(1, count + 1) if bootstrap_share(rank, count) >= 0.025)
    high = next(rank for rank in range(1, count + 1) if bootstrap_share(rank, count) >= 0.975)
    found = median(values)
    assert found.median == (count + 1) / 2
    assert (found.low, found.high) == (low, high)


def test_the_interval_holds_the_true_median_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    samples = generator.lognormal(size=(300, 15))  # its median is 1
    held = [found.low <= 1 <= found.high for found in map(median, samples)]
    assert 0.90 <= np.mean(held) <= 0.99


def test_one_value_or_equal_ones_have_no_width() -> None:
    assert median([3.0]) == median([3.0, 3.0, 3.0])


def test_a_slow_round_moves_neither_median_nor_ratio() -> None:
    quiet = median([1.0, 1.1, 0.9, 1.0, 1.05])
    assert median([1.0, 1.1, 0.9, 1.0, 50.0]).median == quiet.median == 1.0


def test_what_both_engines_share_of_a_round_drops_out_of_their_ratio() -> None:
    rounds = np.random.default_rng(1).lognormal(sigma=2.0, size=12)
    found = ratio(list(0.8 * rounds), list(rounds))
    assert (found.median, found.low, found.high) == pytest.approx((0.8, 0.8, 0.8))
    assert median(list(rounds)).high > 2 * median(list(rounds)).low  # which alone says little


def test_a_ratio_needs_pairs() -> None:
    with pytest.raises(ValueError):
        ratio([1.0, 2.0], [1.0])


def test_the_same_figures_give_the_same_interval() -> None:
    values = [1.0, 4.0, 2.0, 8.0, 5.0]
    assert median(values) == median(values)
