"""The cost model, fitted to workloads with known prices."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from green_code.energy.costs import IDLE, CostModel, Measurement, load_costs, save_costs
from green_code.energy.meters import Source
from green_code.problems import Problem
from green_code.work import Work

SECONDS = 0.1
PRICES = {
    "layer_batch": 0.5,
    "small_batch_position": 0.005,
    "layer_position": 0.02,
    "head_batch": 0.3,
    "head_position": 0.04,
    "decision": 0.1,
    "kv_only": 0.001,
}


class CountingMeter:
    """A meter whose joules the workloads add up."""

    source: Source = "rapl"

    def __init__(self) -> None:
        self.joules = 0.0

    def read_joules(self) -> float:
        return self.joules

    def describe(self) -> str:
        return "counting"


def fitted(
    drift: float = 0.0, disturbed: tuple[float, float] = (0, 0), factor: float = 3.0, idle_watts: float = 0.0
) -> CostModel:
    """
    Args:
        idle_watts: what the device draws whatever is done; above 0, it is measured.
        drift: share by which all prices have risen at the end of the measurement.
        disturbed: begin and end, as shares of the measurement, of a time in which all costs `factor` times as much.
    """
    meter, clock = CountingMeter(), SimpleNamespace(now=0.0)

    def workload(work: Work):  # type: ignore[no-untyped-def]
        def run() -> Work:
            clock.now += SECONDS / 1000
            elapsed = clock.now / (len(PRICES) * SECONDS)
            meter.joules += idle_watts * SECONDS / 1000
            scale = (1 + drift * elapsed) * (factor if disturbed[0] <= elapsed < disturbed[1] else 1)
            meter.joules += scale * (
                PRICES["layer_batch"] * work.layer_batches
                + PRICES["small_batch_position"] * work.small_batch_positions
                + PRICES["layer_position"] * (work.layer_positions - work.small_batch_positions)
                + PRICES["head_batch"] * work.head_batches
                + PRICES["head_position"] * work.head_positions
                + PRICES["decision"] * work.decisions
                + PRICES["kv_only"] * work.kv_only
            )
            return work

        return run

    work = {
        "layer": workload(Work(6, 6, 6)),
        "layer_small_batch": workload(Work(6, 6 * 4, 6 * 4)),
        "layer_batch": workload(Work(6, 6 * 256, 6 * 4)),
        "head": workload(Work(head_batches=1, head_positions=1)),
        "head_batch": workload(Work(head_batches=1, head_positions=8)),
        "decision": workload(Work(head_batches=1, head_positions=1, decisions=1)),
        "kv_only": workload(Work(kv_only=6 * 32)),
    }
    if idle_watts:
        work[IDLE] = workload(Work())
    measurement = Measurement(work, meter, SECONDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("green_code.energy.costs.time", SimpleNamespace(monotonic=lambda: clock.now))
        while measurement.share < 1:
            measurement.step()
    return measurement.costs()


def test_the_fit_gives_the_known_prices() -> None:
    costs = fitted()
    assert asdict(costs.prices) == pytest.approx(PRICES)
    assert costs.relative_interval == pytest.approx(0, abs=1e-6)


def test_what_a_device_draws_while_it_waits_is_no_price() -> None:
    costs = fitted(idle_watts=70.0)
    assert costs.idle_watts == pytest.approx(70)
    assert asdict(costs.prices) == pytest.approx(PRICES, rel=1e-3)
    assert fitted().idle_watts == 0


def test_a_device_is_waited_for_at_both_edges_of_each_window() -> None:
    meter, waits = CountingMeter(), list[float]()

    def work() -> Work:
        meter.joules += 1
        return Work(1, 1, 1)

    measurement = Measurement({"layer": work}, meter, 0.001, lambda: waits.append(meter.joules))
    measurement.step()
    assert waits[0] == 1 and waits[1] == meter.joules > 1, "the warm-up is no part of the window"


def test_a_drift_affects_all_prices_alike() -> None:
    """By half. If workloads were measured one after another, `small_batch_position` would come out five times too high."""
    costs = fitted(drift=0.5)
    mean = costs.prices.layer_batch / PRICES["layer_batch"]
    assert 1.1 < mean < 1.4
    assert costs.prices.small_batch_position == pytest.approx(mean * PRICES["small_batch_position"], rel=0.5)
    assert costs.prices.head_position == pytest.approx(mean * PRICES["head_position"], rel=0.2)
    assert 0.02 < costs.relative_interval < 0.3


def test_a_short_disturbance_changes_no_price() -> None:
    costs = fitted(disturbed=(0.25, 0.5))
    assert asdict(costs.prices) == pytest.approx(PRICES)
    assert costs.relative_interval > 0.1, "but it widens the interval"


def test_a_counter_that_often_stands_still_gives_prices() -> None:
    assert 0 < fitted(disturbed=(0.4, 9), factor=0).prices.layer_batch < PRICES["layer_batch"]


def test_a_counter_that_always_stands_still_is_refused() -> None:
    with pytest.raises(Problem, match="no readings"):
        fitted(disturbed=(0, 9), factor=0)


def test_costs_are_saved_and_read_again_where_they_can_be_written(tmp_path: Path) -> None:
    costs = fitted()
    save_costs(tmp_path / "costs.json", costs)
    assert load_costs(tmp_path / "costs.json") == costs
    (tmp_path / "file").touch()
    save_costs(tmp_path / "file" / "costs.json", costs)
    assert load_costs(tmp_path / "absent.json") is None
