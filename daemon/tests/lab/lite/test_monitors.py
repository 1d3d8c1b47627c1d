"""Each failure signature is provoked, and named."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest

from green_code.problems import Problem
from green_code_lab.lite.monitors import Monitors


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(loss: float) -> None:
    with pytest.raises(Problem, match=r"depth 7 is .* at step 12: .* lower --rate"):
        Monitors().check_losses(12, {5: 1.0, 7: loss})


def test_an_exit_that_diverges() -> None:
    monitors = Monitors()
    for step in range(300):
        monitors.check_losses(step, {5: 2.0, 18: 1.5})
    with pytest.raises(Problem, match=r"depth 5 rose from 2\.00 to .* diverges"):
        for step in range(300, 400):
            monitors.check_losses(step, {5: 2.0 + (step - 300) * 0.1, 18: 1.5})


def test_noise_and_a_slow_start_are_no_divergence() -> None:
    monitors = Monitors()
    for step in range(1000):
        monitors.check_losses(step, {5: 20 * math.exp(-step / 50) + 2 + math.sin(step)})


def test_a_damaged_last_layer_gets_weight_then_stops_the_run() -> None:
    monitors = Monitors()
    assert monitors.guard({"java": 2.0, "python": 2.0}, {"java": 1.9, "python": 2.019}) is None
    warning = monitors.guard({"java": 2.0, "python": 2.0}, {"java": 1.9, "python": 2.1})
    assert warning is not None and "python is 5.0%" in warning
    assert monitors.last_weight > 1
    with pytest.raises(Problem, match="damages it"):
        for _ in range(20):
            monitors.guard({"java": 2.0}, {"java": 3.0})


def test_the_weight_falls_when_the_last_layer_recovers() -> None:
    monitors = Monitors()
    monitors.guard({"java": 2.0}, {"java": 2.1})
    assert monitors.guard({"java": 2.0}, {"java": 2.0}) is None
    assert monitors.last_weight == 1


@pytest.mark.parametrize("now", [{"java": math.nan, "python": 2.0}, {"java": 2.0, "python": math.nan}])
def test_a_held_out_loss_that_is_not_finite(now: dict[str, float]) -> None:
    with pytest.raises(Problem, match="not finite"):
        Monitors().guard({"java": 2.0, "python": 2.0}, now)


def test_they_survive_a_checkpoint() -> None:
    monitors = Monitors()
    for step in range(150):
        monitors.check_losses(step, {5: 2.0 + step / 100})
    again = Monitors(**asdict(monitors))
    assert again == monitors
