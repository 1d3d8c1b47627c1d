"""The cost model against workloads whose joules are known, and the full-depth work of a request by hand."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import pytest

from green_code.energy.costs import CostModel, Work, fit, full_depth_work, load_costs, save_costs
from green_code.energy.meters import Source
from green_code.problems import Problem

SECONDS = 0.16
TRUE = {
    "run": 0.5,
    "few": 0.005,
    "evaluation": 0.02,
    "head": 0.3,
    "head_row": 0.04,
    "decision": 0.1,
    "entry": 0.001,
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
                TRUE["run"] * work.runs
                + TRUE["few"] * work.few
                + TRUE["evaluation"] * (work.evaluations - work.few)
                + TRUE["head"] * work.heads
                + TRUE["head_row"] * work.head_rows
                + TRUE["decision"] * work.decisions
                + TRUE["entry"] * work.entries
            )
            return work

        return run

    work = {
        "layer": workload(Work(runs=6, evaluations=6, few=6)),
        "layer_few": workload(Work(runs=6, evaluations=6 * 4, few=6 * 4)),
        "layer_batch": workload(Work(runs=6, evaluations=6 * 256, few=6 * 4)),
        "head": workload(Work(heads=1, head_rows=1)),
        "head_batch": workload(Work(heads=1, head_rows=8)),
        "decision": workload(Work(heads=1, head_rows=1, decisions=1)),
        "kv_projections": workload(Work(entries=6 * 32)),
    }
    return fit(work, meter, SECONDS, lambda *_: None)


def test_known_costs_are_found_again() -> None:
    costs = fitted()
    found = (
        costs.run_joules,
        costs.few_joules,
        costs.evaluation_joules,
        costs.head_joules,
        costs.head_row_joules,
        costs.decision_joules,
        costs.entry_joules,
    )
    assert found == pytest.approx(tuple(TRUE.values()))
    assert costs.relative_interval == pytest.approx(0, abs=1e-6)
    joules = costs.joules(Work(2, 7, 4, 1, 2, 4, 50))
    assert joules == pytest.approx(1.0 + 0.02 + 0.06 + 0.3 + 0.08 + 0.4 + 0.05)


def test_a_drift_of_the_machine_touches_all_costs_alike() -> None:
    """Half as much again at the end: one after the other, `few` would be five times what it is."""
    costs = fitted(drift=0.5)
    mean = costs.run_joules / TRUE["run"]
    assert 1.1 < mean < 1.4
    assert costs.few_joules == pytest.approx(mean * TRUE["few"], rel=0.5)
    assert costs.head_row_joules == pytest.approx(mean * TRUE["head_row"], rel=0.2)
    assert 0.02 < costs.relative_interval < 0.3


def test_what_disturbs_a_turn_or_two_does_not_stay_in_the_costs() -> None:
    costs = fitted(disturbed=(0.25, 0.5))
    assert tuple(asdict(costs).values())[: len(TRUE)] == pytest.approx(tuple(TRUE.values()))
    assert costs.relative_interval > 0.1, "but it is said"


def test_a_counter_that_stands_in_most_turns_is_read_over_all_and_one_that_always_stands_is_named() -> None:
    assert 0 < fitted(disturbed=(0.4, 9), factor=0).run_joules < TRUE["run"]
    with pytest.raises(Problem, match="no readings"):
        fitted(disturbed=(0, 9), factor=0)


def test_full_depth_work_by_hand() -> None:
    """12 new prompt positions and 3 tokens on 18 layers: a pass over 12, the last layer over one of them, then two over one each."""
    first = Work(runs=18, evaluations=17 * 12 + 1, few=17 * 4 + 1, heads=1, head_rows=1, entries=11)
    assert full_depth_work(18, 12, 1, 4) == first
    by_hand = Work(18 * 3, first.evaluations + 2 * 18, first.few + 2 * 18, 3, 3, entries=11)
    assert full_depth_work(18, 12, 3, 4) == by_hand
    assert full_depth_work(18, 2, 1, 4).few == 17 * 2 + 1
    assert full_depth_work(18, 1, 1, 4).entries == 0
    assert full_depth_work(18, 12, 0, 4) == Work()


def test_kept_and_read_again_and_a_full_disk_is_no_failure(tmp_path: Path) -> None:
    costs = fitted()
    save_costs(tmp_path / "costs.json", costs)
    assert load_costs(tmp_path / "costs.json") == costs
    (tmp_path / "file").touch()
    save_costs(tmp_path / "file" / "costs.json", costs)
    assert load_costs(tmp_path / "absent.json") is None
