"""Windows of the meter over work that is done over and over, in turns: what `energy` and `baselines` measure by."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from green_code.energy.meters import Meter, Window, pick_meter
from green_code.engine.loading import Runtime
from green_code.problems import Problem
from green_code_lab.experiments.experiment import Args, Report

_METERS = {
    "nvml": "measured by the GPU's total-energy counter (NVML), its draw while idle included",
    "rapl": "measured by the processor packages' energy counters (RAPL), the rest of the machine's use included",
}
Name = TypeVar("Name")
Work = Callable[[], int]
"""Does some work, and returns how many units it was."""


class Spent(NamedTuple):
    """Of a window, for each unit of its work."""

    joules: float
    cpu_seconds: float
    wall_seconds: float


def take_turns(
    runtime: Runtime, arms: Mapping[Name, Callable[[], Work]], args: Args, report: Report
) -> tuple[dict[Name, list[Spent]], dict[str, str]]:
    """`args.repetitions` windows of each arm, and settings for the page.

    Args:
        arms: prepare work, which is done once before its window begins.
    """
    meter = pick_meter(runtime.decoder.gpu)
    windows: dict[Name, list[Spent]] = {name: [] for name in arms}
    for repetition, order in enumerate(orders(list(arms), args.repetitions, args.seed)):
        for name in order:
            work = arms[name]()
            work()
            windows[name].append(spend(meter, args.window_seconds, work, runtime.decoder.synchronise))
        report(f"repetition {repetition + 1} of {args.repetitions}")
    return windows, {
        "joules": _METERS.get(meter.source, meter.describe()),  # without a GPU's serial number
        "windows": f"{args.repetitions} of {args.window_seconds:g} s or longer for each arm, in a shuffled order and its reverse (seed {args.seed})",
    }


def orders(arms: Sequence[Name], repetitions: int, seed: int) -> list[list[Name]]:
    """A shuffled order, its reverse, another one, and so on: a steady drift (heat, clock) falls on all arms alike."""
    generator, found = random.Random(seed), list[list[Name]]()
    while len(found) < repetitions:
        order = generator.sample(list(arms), len(arms))
        found += [order, order[::-1]]
    return found[:repetitions]


def spend(meter: Meter, seconds: float, work: Work, synchronise: Callable[[], None] = lambda: None) -> Spent:
    """Do `work` once and then until `seconds` have passed. `synchronise`: see `Window`.

    Raises:
        Problem: the meter gives no readings.
    """
    units = 0
    with Window(meter, synchronise) as window:
        end = time.monotonic() + seconds
        while not units or time.monotonic() < end:
            units += work()
    read = window.reading
    if read is None or read.joules is None:
        sentence = f"the energy meter ({meter.describe()}) gave no readings; see `green-code doctor`."
        raise Problem("internal_error", sentence)
    return Spent(read.joules / units, read.cpu_seconds / units, read.seconds / units)
