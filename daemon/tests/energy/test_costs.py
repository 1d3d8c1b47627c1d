"""The cost model against workloads whose joules are known."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import pytest

from green_code.energy.costs import CostModel, fit, load_costs, save_costs
from green_code.energy.meters import Source
from green_code.problems import Problem
from green_code.work import Work

SECONDS = 0.16
TRUE = {
    "layer_batch": 0.5,
    "small_batch_position": 0.005,
    "layer_position": 0.02,
    "head_batch": 0.3,
    "head_position": 0.04,
    "decision": 0.1,
    "kv_only": 0.001,
}


class CountingMeter:
    """Joules of the work that the workloads say they did."""

    source: Source = "rapl"

    def __init__(self) -> None:
        self.joules = 0.0

    def read_joules(self) -> float:
        return self.joules

    def describe(self) -> str:
        return "counting"


def fitted(drift: float = 0.0, disturbed: tuple[float, float] = (0, 0), factor: float = 3.0) -> CostModel:
    """
    Args:
        drift: by which share all becomes dearer from the first second of work to the last.
        disturbed: from which share of the time to which all costs `factor` times as much.
    """
    meter, begin = CountingMeter(), time.monotonic()

    def workload(work: Work):  # type: ignore[no-untyped-def]
        def run() -> Work:
            passed = (time.monotonic() - begin) / (len(TRUE) * SECONDS)
            dearer = (1 + drift * passed) * (factor if disturbed[0] <= passed < disturbed[1] else 1)
            meter.joules += dearer * (
                TRUE["layer_batch"] * work.layer_batches
                + TRUE["small_batch_position"] * work.small_batch_positions
                + TRUE["layer_position"] * (work.layer_positions - work.small_batch_positions)
                + TRUE["head_batch"] * work.head_batches
                + TRUE["head_position"] * work.head_positions
                + TRUE["decision"] * work.decisions
                + TRUE["kv_only"] * work.kv_only
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
    return fit(work, meter, SECONDS, lambda *_: None)


def test_known_costs_are_found_again() -> None:
    costs = fitted()
    assert asdict(costs.prices) == pytest.approx(TRUE)
    assert costs.relative_interval == pytest.approx(0, abs=1e-6)


def test_a_drift_of_the_machine_touches_all_costs_alike() -> None:
    """Half as much again at the end: one after the other, a small batch's positions would be five times what it is."""
    costs = fitted(drift=0.5)
    mean = costs.prices.layer_batch / TRUE["layer_batch"]
    assert 1.1 < mean < 1.4
    assert costs.prices.small_batch_position == pytest.approx(mean * TRUE["small_batch_position"], rel=0.5)
    assert costs.prices.head_position == pytest.approx(mean * TRUE["head_position"], rel=0.2)
    assert 0.02 < costs.relative_interval < 0.3


def test_what_disturbs_a_turn_or_two_does_not_stay_in_the_costs() -> None:
    costs = fitted(disturbed=(0.25, 0.5))
    assert asdict(costs.prices) == pytest.approx(TRUE)
    assert costs.relative_interval > 0.1, "but it is said"


def test_a_counter_that_stands_in_most_turns_is_read_over_all_and_one_that_always_stands_is_named() -> None:
    assert 0 < fitted(disturbed=(0.4, 9), factor=0).prices.layer_batch < TRUE["layer_batch"]
    with pytest.raises(Problem, match="no readings"):
        fitted(disturbed=(0, 9), factor=0)


def test_kept_and_read_again_and_a_full_disk_is_no_failure(tmp_path: Path) -> None:
    costs = fitted()
    save_costs(tmp_path / "costs.json", costs)
    assert load_costs(tmp_path / "costs.json") == costs
    (tmp_path / "file").touch()
    save_costs(tmp_path / "file" / "costs.json", costs)
    assert load_costs(tmp_path / "absent.json") is None
