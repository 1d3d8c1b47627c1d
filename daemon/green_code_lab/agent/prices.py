"""The price list in units of one full-depth token, over arrays."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from green_code.models.backend import SMALL_BATCH
from green_code.work import Prices, Work


@dataclass(frozen=True)
class TokenPrices(Prices):
    """Prices in units of one full-depth token, and `error`, that of a wrong token."""

    error: float = 1.0

    @property
    def head(self) -> float:
        """Of one position."""
        return self.head_batch + self.head_position

    def layers(self, layers: Any, positions: Any) -> Any:
        """Of `positions` through `layers` layers as one batch."""
        small = np.minimum(positions, SMALL_BATCH)
        each = self.small_batch_position * small + self.layer_position * (positions - small)
        return layers * (self.layer_batch + each)

    def advance(self, layers: Any, waiting: Any, last: Any) -> Any:
        """Of a position and `waiting` others through `layers` layers; in the `last` of all, the others need KV only."""
        alone = self.layers(1, 1) + self.kv_only * waiting
        return self.layers(layers - last, 1 + waiting) + last * alone


def token_prices(prices: Prices, layers: int, error: float) -> TokenPrices:
    """Any price list in units of one of its full-depth tokens."""
    token = prices.of(Work(layers, layers, layers, head_batches=1, head_positions=1))
    return TokenPrices(**{name: price / token for name, price in asdict(prices).items()}, error=error)
