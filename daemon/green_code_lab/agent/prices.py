"""The price list in units of one full-depth token, vectorised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from green_code.energy.costs import CostModel, Work
from green_code.models.backend import SMALL_BATCH


@dataclass(frozen=True)
class TokenPrices:
    """Measured prices in units of one full-depth token, and `error`, the price of a wrong token."""

    layer_batch: float
    small_batch_position: float
    layer_position: float
    head_batch: float
    head_position: float
    decision: float
    kv_only: float
    error: float = 1.0

    @property
    def head(self) -> float:
        """Of one position."""
        return self.head_batch + self.head_position

    def layers(self, layers: Any, positions: Any) -> Any:
        """Of `positions` through `layers` layers as one batch."""
        small = np.minimum(positions, SMALL_BATCH)
        rows = self.small_batch_position * small + self.layer_position * (positions - small)
        return layers * (self.layer_batch + rows)

    def advance(self, layers: Any, waiting: Any, last: Any) -> Any:
        """Of a position and `waiting` others through `layers` layers. The `last` of all makes keys and values alone of the others."""
        alone = self.layers(1, 1) + self.kv_only * waiting
        return self.layers(layers - last, 1 + waiting) + last * alone


def token_prices(costs: CostModel, layers: int, error: float) -> TokenPrices:
    unit = costs.joules(Work(runs=layers, evaluations=layers, few=layers, heads=1, head_rows=1))
    c = costs
    joules = (c.run_joules, c.few_joules, c.evaluation_joules, c.head_joules, c.head_row_joules, c.decision_joules, c.entry_joules)  # fmt: skip
    return TokenPrices(*(price / unit for price in joules), error)
