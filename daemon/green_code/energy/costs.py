"""What a completion costs: joules per layer run, per position in it, per head and per decision of the agent.

A token is never metered alone: the counters are too coarse for that. Instead seven workloads are repeated for ten seconds
each, in turns, since what counts are differences between them and a machine's speed drifts; a workload costs what it did in
the median turn, so that other work, for a turn or two, does not stay in the costs. The spread over the turns,
that drift included, gives the interval, and the joules of a request follow from how much of each it did:

    joules = run · (layer runs) + few · (layer × position, the first few of a batch) + evaluation · (the others)
           + head · (heads) + head row · (positions through them) + decision · (decisions) + entry · (layer × position, keys and values alone)

A decision is all that the agent asks for beside the head: the lens through which that looks, and the exit classifier. Rules, which
decide without a network, are given their lens for nothing.

`run` is what reading a layer's weights costs whatever the batch, `evaluation` what each position adds; so for the head.
The first few positions of a batch add less than later ones, since arithmetic then waits for memory anyway.
An entry is a key and a value alone, of a position that does not go through the layer; it is measured in batches of 32
positions: of a long prompt's it is a little less, of a few alone more.
Attention over a longer context costs more than these constants say; the windows use 256 positions.

Must not know: models. It is given workloads to repeat.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from green_code.energy.meters import Meter, Window
from green_code.problems import Problem

TURNS = 8
COSTS_FILES = "costs-*.json"
"""What is measured is kept in the cache under names like these, a file for each model's shape, build and machine."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """How much was run."""

    runs: int = 0
    evaluations: int = 0
    few: int = 0  # of the evaluations, those of the first few positions of a batch
    heads: int = 0
    head_rows: int = 0
    decisions: int = 0
    entries: int = 0  # layer × position, of which keys and values alone were made


@dataclass(frozen=True)
class CostModel:
    """Joules per unit of work, their meter, and the relative half-width of the widest 95 % interval among what was measured."""

    run_joules: float
    few_joules: float
    evaluation_joules: float
    head_joules: float
    head_row_joules: float
    decision_joules: float
    entry_joules: float
    source: str
    meter: str
    relative_interval: float
    window_seconds: float

    def joules(self, work: Work) -> float:
        return (
            self.run_joules * work.runs
            + self.few_joules * work.few
            + self.evaluation_joules * (work.evaluations - work.few)
            + self.head_joules * work.heads
            + self.head_row_joules * work.head_rows
            + self.decision_joules * work.decisions
            + self.entry_joules * work.entries
        )


def prompt_evaluations(layers: int, positions: int) -> int:
    """Of a prompt at full depth, layer × position: of its positions but the last, the last layer makes keys and values alone."""
    return layers * positions - max(0, positions - 1)


def full_depth_work(layers: int, new_prompt_positions: int, passes: int, few: int) -> Work:
    """The same request at full depth with the same cache: one pass over the prompt, then one a token.

    Args:
        passes: counts the tokens, and the end of the text where the model said it. few: how many positions are few.
    """
    if passes == 0:
        return Work()
    kv_only = new_prompt_positions - 1
    return Work(
        runs=layers * passes,
        evaluations=prompt_evaluations(layers, new_prompt_positions) + layers * (passes - 1),
        few=layers * passes + (layers - 1) * min(few - 1, kv_only),
        heads=passes,
        head_rows=passes,
        entries=kv_only,
    )


def fit(
    workloads: Mapping[str, Callable[[], Work]],
    meter: Meter,
    window_seconds: float,
    report: Callable[[str, float], None],
) -> CostModel:
    """Measure the workloads and solve for the constants.

    Args:
        workloads: `layer` (runs with one position), `layer_few` (with a few) and `layer_batch` (with many), `head`,
            `head_batch`, `decision` (with the head that it looks at) and `entries`; each call does a little work and says how much.
        window_seconds: how long each is repeated, all its turns together.
    """
    for work in workloads.values():
        work()  # warm
    turns: list[dict[str, tuple[float, Work]]] = []
    for turn in range(TURNS):
        report("measuring energy per layer and token (once)", turn / TURNS)
        read = {}
        # Backwards every other time: a counter that lags counts a little of what came before.
        for name, work in list(workloads.items())[:: -1 if turn % 2 else 1]:
            with Window(meter) as window:
                done = _repeat(work, window_seconds / TURNS)
            if window.adapters is not None and window.adapters.joules is not None:
                read[name] = window.adapters.joules, done
        if len(read) == len(workloads):
            turns.append(read)
    kv_only = Problem(
        "internal_error", f"the energy meter ({meter.describe()}) gave no readings; see `green-code doctor`."
    )
    if len(turns) < 2:
        raise kv_only
    joules: dict[str, float] = {}
    rows: dict[str, float] = {}
    widths = []
    for name in workloads:
        each = [spent / _units(work) for spent, work in (read[name] for read in turns)]
        whole = functools.reduce(_sum, (read[name][1] for read in turns))
        # A counter that steps more seldom than turns last says nothing in most of them.
        joules[name] = statistics.median(each) or statistics.fmean(each)
        if not joules[name]:
            raise kv_only
        rows[name] = (whole.evaluations or whole.head_rows) / _units(whole)
        median_error = math.sqrt(math.pi / 2 / len(turns)) * statistics.stdev(each)  # for normal noise
        widths.append(1.96 * median_error / joules[name])

    def split(single: str, batch: str) -> tuple[float, float]:
        """What a run costs, and what each row adds to it."""
        row = max(0.0, (joules[batch] - joules[single]) / (rows[batch] - rows[single]))
        return max(0.0, joules[single] - row), row

    run, few = split("layer", "layer_few")
    _, evaluation = split("layer_few", "layer_batch")
    head, head_row = split("head", "head_batch")
    return CostModel(
        run_joules=run,
        few_joules=few,
        evaluation_joules=evaluation,
        head_joules=head,
        head_row_joules=head_row,
        decision_joules=max(0.0, joules["decision"] - joules["head"]),
        entry_joules=joules["kv_projections"],
        source=meter.source,
        meter=meter.describe(),
        relative_interval=max(widths),
        window_seconds=window_seconds,
    )


def _repeat(work: Callable[[], Work], seconds: float) -> Work:
    done, end = Work(), time.monotonic() + seconds
    while time.monotonic() < end:
        done = _sum(done, work())
    return done


def _sum(a: Work, b: Work) -> Work:
    return Work(*(x + y for x, y in zip(astuple(a), astuple(b), strict=True)))


def _units(work: Work) -> int:
    """Of the kind that a workload is of."""
    return work.runs or work.heads or work.entries


def load_costs(path: Path) -> CostModel | None:
    """Costs measured earlier, or None."""
    try:
        return CostModel(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def save_costs(path: Path, costs: CostModel) -> None:
    """Keep them for the next start; where the cache cannot be written, that start measures again."""
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps(asdict(costs), indent=1), "utf-8")
        part.replace(path)
    except OSError as error:
        log.warning("energy costs cannot be kept in %s: %s", path, error)
