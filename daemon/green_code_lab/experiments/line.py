"""A straight line through what tokens cost at each layer, and whether it is one: residuals, a bend, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DRAWS = 2000
Interval = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """cost = intercept + slope · layer, by least squares. Intervals are of 95 %.

    `fixed_share` is the intercept's part of the cost at the last layer. `r_squared` is over single windows.
    `largest_residual` is that of a layer's mean, as a share of the line there. `bend` is how far a parabola's middle
    lies above the chord between its ends, as a share of the line at the last layer: 0 for a straight line.
    """

    intercept: float
    intercept_interval: Interval
    slope: float
    slope_interval: Interval
    fixed_share: float
    fixed_share_interval: Interval
    r_squared: float
    largest_residual: float
    largest_residual_layer: int
    bend: float
    bend_interval: Interval


def fit_line(layers: Sequence[int], costs: NDArray[np.float64], seed: int) -> Line:
    """Fit, with percentile bootstrap intervals over repetitions.

    Args:
        layers: (X,), at least three. costs: (R, X), a repetition a row, each with every layer once. Repetitions are
            drawn whole, so what drifts between them widens the intervals.
    """
    depths = np.asarray(layers, np.float64)
    intercept, slope, fixed_share, bend = _coefficients(depths, costs)
    generator = np.random.default_rng(seed)
    draws = generator.integers(len(costs), size=(_DRAWS, len(costs)))
    low, high = np.percentile([_coefficients(depths, costs[draw]) for draw in draws], [2.5, 97.5], axis=0)
    intervals: list[Interval] = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    line = intercept + slope * depths
    residuals = costs.mean(0) / line - 1
    worst = int(np.argmax(np.abs(residuals)))
    return Line(
        intercept=intercept,
        intercept_interval=intervals[0],
        slope=slope,
        slope_interval=intervals[1],
        fixed_share=fixed_share,
        fixed_share_interval=intervals[2],
        r_squared=float(1 - ((costs - line) ** 2).sum() / ((costs - costs.mean()) ** 2).sum()),
        largest_residual=float(residuals[worst]),
        largest_residual_layer=layers[worst],
        bend=bend,
        bend_interval=intervals[3],
    )


def _coefficients(
    depths: NDArray[np.float64], costs: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    """Intercept, slope, fixed share and bend. Each layer has as many windows, so the means' line is the windows'."""
    means = costs.mean(0)
    slope, intercept = np.polyfit(depths, means, 1)
    last = intercept + slope * depths[-1]
    # a + b·x + c·x² lies −c·(half the range)² above its chord in the middle.
    above = -np.polyfit(depths, means, 2)[0] * ((depths[-1] - depths[0]) / 2) ** 2
    return float(intercept), float(slope), float(intercept / last), float(above / last)
