"""Windows of the meter over work that is done over and over, in turns: what `energy` and `baselines` measure by.

What takes turns does so in a shuffled order and then in its reverse, so that a steady drift (heat, clock) falls on all alike.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from green_code.energy.meters import Meter, Window
from green_code.problems import Problem

_METERS = {
    "nvml": "the GPU's total-energy counter (NVML), its draw while idle included",
    "rapl": "the processor packages' energy counters (RAPL), the rest of the machine's use included",
}
"""Without the GPU's serial number, which `describe` has."""

Arm = TypeVar("Arm")


class Spent(NamedTuple):
    """Of a window, for each of its `units`."""

    units: int
    joules: float
    cpu_seconds: float
    wall_seconds: float


def meter_in_words(meter: Meter) -> str:
    """What a page says of where its joules are from."""
    return _METERS.get(meter.source, meter.describe())


def orders(arms: Sequence[Arm], repetitions: int, seed: int) -> list[list[Arm]]:
    """A shuffled order for the first repetition, its reverse for the second, a new one for the third, and so on."""
    generator, found = random.Random(seed), list[list[Arm]]()
    while len(found) < repetitions:
        order = generator.sample(list(arms), len(arms))
        found += [order, order[::-1]]
    return found[:repetitions]


def spend(meter: Meter, seconds: float, work: Callable[[], int]) -> Spent:
    """Do `work`, which returns how many units it was, once and then until `seconds` have passed.

    Raises:
        Problem: the meter gives no readings.
    """
    units = 0
    with Window(meter) as window:
        end = time.monotonic() + seconds
        while not units or time.monotonic() < end:
            units += work()
    reading = window.reading
    if reading is None or reading.joules is None:
        raise Problem(
            "internal_error",
            f"the energy meter ({meter.describe()}) gave no readings; see `green-code doctor`.",
        )
    return Spent(units, reading.joules / units, reading.cpu_seconds / units, reading.seconds / units)
