"""What a choice costs: the measured cost model in units of one warm token at full depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from green_code.energy.costs import CostModel, Work
from green_code.models.backend import SMALL_BATCH


@dataclass(frozen=True)
class Prices:
    """Costs in units of a full-depth token: per layer run, per position in it (the first few of a batch, and the
    others), per key and value alone, per head, per decision, of an error.

    All but `error`, what a wrong token is worth, come from the measured cost model.
    """

    run: float
    few: float
    evaluation: float
    entry: float
    head: float
    decision: float
    error: float = 1.0

    def layers(self, layers: Any, rows: Any) -> Any:
        """Of `rows` positions through `layers` layers together."""
        few = np.minimum(rows, SMALL_BATCH)
        return layers * (self.run + self.few * few + self.evaluation * (rows - few))

    def rise(self, layers: Any, waiting: Any, last: Any) -> Any:
        """Of a position, and `waiting` others below, through `layers` layers.

        Where the last of all is among these, `last`, it makes keys and values alone of the others.
        """
        alone = self.layers(1, 1) + self.entry * waiting
        return self.layers(layers - last, 1 + waiting) + last * alone


def prices_of(costs: CostModel, layers: int, error: float) -> Prices:
    """The measured cost model in units of one warm token at full depth."""
    unit = costs.joules(Work(runs=layers, evaluations=layers, few=layers, heads=1, head_rows=1))
    return Prices(
        costs.run_joules / unit,
        costs.few_joules / unit,
        costs.evaluation_joules / unit,
        costs.entry_joules / unit,
        (costs.head_joules + costs.head_row_joules) / unit,
        costs.decision_joules / unit,
        error,
    )
