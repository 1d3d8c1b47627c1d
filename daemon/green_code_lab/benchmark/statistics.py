"""Medians and ratios with 95 % intervals, by bootstrap over rounds (Efron and Tibshirani 1993, chapter 13).

Medians, because a machine that others use too is now and then slow for one request. A ratio is the median of the
ratios within the rounds: both engines had the same prompt there, and the same minute of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DRAWS = 4000
_SHARES = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """`low` and `high` are the ends of a 95 % percentile interval."""

    median: float
    low: float
    high: float


def median(values: Sequence[float], seed: int = 0) -> Estimate:
    """The median of a figure over rounds, which are drawn with replacement for its interval."""
    array = np.asarray(values, np.float64)
    low, high = np.percentile(np.median(array[_draws(len(array), seed)], axis=1), _SHARES)
    return Estimate(float(np.median(array)), float(low), float(high))


def ratio(values: Sequence[float], to: Sequence[float], seed: int = 0) -> Estimate:
    """The median of `values` / `to`, round by round; rounds are drawn as pairs.

    Raises:
        ValueError: they are not of as many rounds.
    """
    return median([a / b for a, b in zip(values, to, strict=True)], seed)


def _draws(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(count, size=(_DRAWS, count))
