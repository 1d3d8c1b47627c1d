"""What a unit of work costs here: joules per layer batch, per position in it, per head and per decision of the agent.

A token is never metered alone; the counters are too coarse. Seven workloads are repeated for ten seconds each, in turns,
because the costs are differences between them and a machine's speed drifts. Each turn of a workload is a piece of a second or
so, and between two pieces any time may pass. A workload costs what it did in the median turn,
so that other work, for a turn or two, does not count. The spread over the turns, drift included, gives the interval.

The first few positions of a batch cost less than later ones, because arithmetic waits for memory there. Keys and values alone
are measured in batches of 32 positions: in a long prompt they cost a little less, a few alone more. A decision is the exit
classifier and the exit's lens; rules, which decide without the classifier, get their lens for nothing. Attention over a longer
context costs more than these constants say; the windows use 256 positions.

A GPU draws power while it waits. That is measured, too, and not part of what work costs: it is reported apart, and booked by the time for
which a model is resident (engine/loaded_model.py).

Must not know: models. The workloads are given.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import operator
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from green_code.energy.meters import Meter, Source, Window
from green_code.files import replace_file
from green_code.problems import Problem
from green_code.reading import read_json
from green_code.work import Prices, Work

TURNS = 8
IDLE = "idle"
"""The workload that does nothing."""
COSTS_FILES = "costs-*.json"
"""Measured costs lie in the cache under names like these, a file for each model's shape, build and machine."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CostModel:
    """Joules per unit of work, their meter, and the relative half-width of the widest 95 % interval among what was measured.

    `assumed`: nothing was measured; the figures are another machine's.
    `over_assumed`: what a token costs here, over what is assumed for the shape that was measured; None: not known.
    `idle_watts`: what the device draws while the model is resident and nothing is computed, where that is not part of the prices.
    """

    prices: Prices
    source: Source
    meter: str
    relative_interval: float
    window_seconds: float
    assumed: bool = False
    over_assumed: float | None = None
    idle_watts: float = 0.0


class Measurement:
    """The measurement of the workloads, in pieces.

    Args:
        workloads: `layer` (over one position), `layer_small_batch` and `layer_batch` (over many), `head`,
            `head_batch`, `decision` (with the head that it reads) and `kv_only`; each call does a little work and returns how much.
            `IDLE`, where the device's idle draw is to be taken off.
        window_seconds: how long each is repeated, all its turns together. synchronise: see `Window`.
    """

    def __init__(
        self,
        workloads: Mapping[str, Callable[[], Work]],
        meter: Meter,
        window_seconds: float,
        synchronise: Callable[[], None] = lambda: None,
    ) -> None:
        self._workloads, self._meter, self._window_seconds = workloads, meter, window_seconds
        self._synchronise = synchronise
        # In reverse order every other turn: a counter that lags counts a little of the workload before.
        self._pieces = [(turn, name) for turn in range(TURNS) for name in list(workloads)[:: -1 if turn % 2 else 1]]
        self._read: list[dict[str, tuple[float, float, Work]]] = [{} for _ in range(TURNS)]
        self._done = 0
        self._warm = False

    @property
    def share(self) -> float:
        """Of the pieces, those that are measured."""
        return self._done / len(self._pieces)

    def step(self) -> None:
        """Measure the next piece. What a workload raises ends the piece, which is measured again."""
        if not self._warm:
            for work in self._workloads.values():
                work()
        self._warm = False  # unless this piece ends well
        turn, name = self._pieces[self._done]
        with Window(self._meter, self._synchronise, time.monotonic) as window:
            done = _repeat(self._workloads[name], self._window_seconds / TURNS)
        if window.reading is not None and window.reading.joules is not None:
            self._read[turn][name] = window.reading.joules, window.reading.seconds, done
        self._done += 1
        self._warm = True

    def costs(self) -> CostModel:
        """Solve for the constants.

        Raises:
            Problem: the meter gave no readings.
        """
        no_readings = Problem(
            "internal_error", f"the energy meter ({self._meter.describe()}) gave no readings; see `green-code doctor`."
        )
        turns = [read for read in self._read if len(read) == len(self._workloads)]
        if len(turns) < 2:
            raise no_readings
        joules: dict[str, float] = {}
        rows: dict[str, float] = {}
        widths = []
        idle_watts = _idle_watts(turns)
        for name in self._workloads.keys() - {IDLE}:
            each = [
                (spent - idle_watts * seconds) / _units(work) for spent, seconds, work in (read[name] for read in turns)
            ]
            whole = functools.reduce(operator.add, (read[name][2] for read in turns))
            # A counter that steps more rarely than a turn lasts reads 0 in most turns.
            joules[name] = statistics.median(each) or statistics.fmean(each)
            if joules[name] <= 0:
                raise no_readings
            rows[name] = (whole.layer_positions or whole.head_positions) / _units(whole)
            median_error = math.sqrt(math.pi / 2 / len(turns)) * statistics.stdev(each)  # for normal noise
            widths.append(1.96 * median_error / joules[name])

        def split(single: str, batch: str) -> tuple[float, float]:
            """The cost of a batch, and what each position adds to it."""
            row = max(0.0, (joules[batch] - joules[single]) / (rows[batch] - rows[single]))
            return max(0.0, joules[single] - row), row

        batch, small = split("layer", "layer_small_batch")
        _, position = split("layer_small_batch", "layer_batch")
        head, head_position = split("head", "head_batch")
        prices = Prices(
            layer_batch=batch,
            small_batch_position=small,
            layer_position=position,
            head_batch=head,
            head_position=head_position,
            decision=max(0.0, joules["decision"] - joules["head"]),
            kv_only=joules["kv_only"],
        )
        return CostModel(
            prices,
            source=self._meter.source,
            meter=self._meter.describe(),
            relative_interval=max(widths),
            window_seconds=self._window_seconds,
            idle_watts=idle_watts,
        )


def _idle_watts(turns: Sequence[Mapping[str, tuple[float, float, Work]]]) -> float:
    """0 where it was not measured."""
    waits = [turn[IDLE] for turn in turns if IDLE in turn]
    return sum(joules for joules, _, _ in waits) / sum(seconds for _, seconds, _ in waits) if waits else 0.0


def _repeat(work: Callable[[], Work], seconds: float) -> Work:
    done, end = Work(), time.monotonic() + seconds
    while time.monotonic() < end:
        done += work()
    return done


def _units(work: Work) -> int:
    """How often the workload's own kind of work was done."""
    return work.layer_batches or work.head_batches or work.kv_only


def load_costs(path: Path) -> CostModel | None:
    """Costs measured earlier, or None."""
    try:
        costs = read_json(path, CostModel)
    except (OSError, ValueError):
        return None
    amounts = (
        *astuple(costs.prices),
        costs.relative_interval,
        costs.window_seconds,
        costs.over_assumed or 0.0,
        costs.idle_watts,
    )
    return costs if min(amounts) >= 0 else None


def newest_costs(folder: Path) -> list[Path]:
    """Files of costs in a folder, the newest first."""
    return sorted(folder.glob(COSTS_FILES), key=lambda path: path.stat().st_mtime, reverse=True)


def save_costs(path: Path, costs: CostModel) -> None:
    """Keep them for the next start; where the cache cannot be written, that start measures again."""
    try:
        replace_file(path, json.dumps(asdict(costs), indent=1))
    except OSError as error:
        log.warning("energy costs cannot be kept in %s: %s", path, error)
