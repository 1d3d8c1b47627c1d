"""Cases that once failed, which every run repeats: seeds.json has pairs of seed and number by trial."""

from __future__ import annotations

import json
from pathlib import Path

from tests.trials.runner import Plan

SEEDS = Path(__file__).with_name("seeds.json")
Case = tuple[int, int]
"""Seed and number, as a failure names them."""


def once_failed(name: str) -> list[Case]:
    """The cases of a trial."""
    return [(seed, number) for seed, number in json.loads(SEEDS.read_text("utf-8")).get(name, ())]


def cases(name: str, plan: Plan, full: int) -> list[Case]:
    """Those that once failed, and then this run's own, so many of `full` as its scale says."""
    return [*once_failed(name), *((plan.seed, number) for number in range(plan.times(full)))]
