"""Which thresholds become named stops."""

from __future__ import annotations

from typing import Any

import pytest

from green_code.agent.calibrate import FULL_DEPTH, choose_stops, of_files

FULL = {"threshold": FULL_DEPTH, "saving": 0.05, "joules": 1.9, "joules_full": 2.0, "edit_similarity": 60.0}


def point(threshold: float, saving: float, quality: float, balanced: float, saver: float) -> dict[str, Any]:
    """The last three are p-values."""
    p = {"quality": quality, "balanced": balanced, "saver": saver}
    joules = {"joules": 2 * (1 - saving), "joules_full": 2.0}
    return {"threshold": threshold, "saving": saving, "edit_similarity": 59.0, "p_values": p, **joules}


def test_a_stop_saves_most_among_the_certified_and_full_depth_is_always_one() -> None:
    curve = [
        point(0.5, 0.3, 0.9, 0.5, 0.01),
        point(0.8, 0.2, 0.01, 0.04, 0.01),
        point(0.9, 0.1, 0.3, 0.02, 0.01),  # tested first: quality ends here, although 0.8 would be certified
    ]
    stops = choose_stops([*curve, FULL])
    assert {name: stop["threshold"] for name, stop in stops.items()} == {
        "quality": FULL_DEPTH,
        "balanced": 0.8,
        "saver": 0.5,
    }
    assert stops["saver"]["saved_joules"] == pytest.approx(0.6)
    assert stops["quality"]["saving"] == 0.05  # drafts'
    assert stops["quality"]["confidence"] == 0.95


def test_a_certified_threshold_that_saves_less_than_full_depth_with_drafts_is_no_stop() -> None:
    assert choose_stops([point(0.9, 0.04, 0.01, 0.01, 0.01), FULL])["saver"]["threshold"] == FULL_DEPTH


def test_a_file_counts_once_by_the_mean_of_its_lines() -> None:
    full = [{"edit_similarity": value} for value in (10.0, 20.0, 30.0, 40.0)]  # first lines, then second ones
    done = [{"edit_similarity": value} for value in (8.0, 20.0, 26.0, 40.0)]
    found = of_files(full, done, 2, seed=0)
    assert sorted(zip(*found, strict=True)) == [(20.0, 17.0), (30.0, 30.0)]
