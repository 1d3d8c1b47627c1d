"""The line against costs whose coefficients are known, and its intervals against least squares' own formula."""

from __future__ import annotations

import numpy as np
import pytest

from green_code_lab.experiments.line import fit_line

LAYERS = range(1, 7)


def costs_of(formula, repetitions: int = 6) -> np.ndarray:  # type: ignore[no-untyped-def]
    return np.array([[formula(layer) for layer in LAYERS]] * repetitions, dtype=float)


def test_a_straight_line_is_found_again() -> None:
    line = fit_line(LAYERS, costs_of(lambda layer: 3 + 2 * layer), 0)
    assert (line.intercept, line.slope, line.r_squared) == pytest.approx((3, 2, 1))
    assert line.fixed_share == pytest.approx(3 / 15)
    assert (line.bend, line.largest_residual) == pytest.approx((0, 0), abs=1e-9)
    assert line.slope_interval == pytest.approx((2, 2))


def test_a_bend_is_told_by_hand() -> None:
    """10 + x² on 1 … 6: least squares gives slope 7 and intercept 10 − 28/3; in the middle the curve is 6.25 below."""
    line = fit_line(LAYERS, costs_of(lambda layer: 10 + layer**2), 0)
    assert (line.intercept, line.slope) == pytest.approx((10 - 28 / 3, 7))
    assert line.bend == pytest.approx(-6.25 / (10 - 28 / 3 + 42))
    assert line.bend_interval[1] < 0
    assert line.largest_residual_layer == 1
    assert line.largest_residual == pytest.approx(11 / (10 - 28 / 3 + 7) - 1)


def test_intervals_are_as_wide_as_the_formula_says() -> None:
    """Var(slope) = σ² / Σ(x − x̄)² over all windows, for independent noise."""
    repetitions, sigma = 60, 0.5
    noise = np.random.default_rng(1).normal(0, sigma, (repetitions, len(LAYERS)))
    line = fit_line(LAYERS, costs_of(lambda layer: 3 + 2 * layer, repetitions) + noise, 0)
    low, high = line.slope_interval
    assert low < 2 < high
    assert high - low == pytest.approx(2 * 1.96 * sigma / (repetitions * 17.5) ** 0.5, rel=0.25)
    assert line.bend_interval[0] < 0 < line.bend_interval[1]


def test_drift_between_repetitions_widens_the_intercept_alone() -> None:
    drift = np.arange(6.0)[:, None]
    line = fit_line(LAYERS, costs_of(lambda layer: 3 + 2 * layer) + drift, 0)
    assert line.slope_interval == pytest.approx((2, 2))
    assert line.intercept_interval[1] - line.intercept_interval[0] > 1
