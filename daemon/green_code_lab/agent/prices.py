"""What a choice costs: the measured cost model in units of one warm token at full depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from green_code.energy.costs import CostModel
from green_code.models.backend import SMALL_BATCH
from green_code.work import Work


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
    unit = costs.prices.of(Work(layers, layers, layers, 1, 1))
    return Prices(
        costs.prices.layer_batch / unit,
        costs.prices.small_batch_position / unit,
        costs.prices.layer_position / unit,
        costs.prices.kv_only / unit,
        (costs.prices.head_batch + costs.prices.head_position) / unit,
        costs.prices.decision / unit,
        error,
    )
