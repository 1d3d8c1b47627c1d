"""What a failed training run looks like; each signature ends the run with its name and a remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from green_code.problems import Problem

PATIENCE = 8  # updates in a row
_COLLAPSED = 0.995  # share of tokens that leave at the first exit
_STALLED = 0.005  # share of tokens that leave at all
_EXPLODED = 20.0  # times the KL limit, or the smallest value loss so far


class Monitor:
    """Watches a PPO run, update by update."""

    def __init__(self, exits: int, kl_limit: float) -> None:
        self._exits, self._kl_limit = exits, kl_limit
        self._collapsed = self._stalled = self._unstable = self._updates = 0
        self._best_value_loss = math.inf

    def check(self, mean_return: float, exits: np.ndarray, tokens: int, figures: Mapping[str, float]) -> None:
        """One update: how many tokens left at each exit, of how many.

        Raises:
            Problem: not finite, collapsed, stalled or unstable.
        """
        self._updates += 1
        if not all(math.isfinite(x) for x in (mean_return, *figures.values())):
            raise Problem(
                "internal_error",
                f"PPO is not finite after {self._updates} updates ({dict(figures)}); try another --seed.",
            )
        first, all_of_them = exits[0] / max(1, tokens), exits.sum() / max(1, tokens)
        # A single exit leaves no choice to collapse into.
        self._collapsed = self._collapsed + 1 if first > _COLLAPSED and self._exits > 1 else 0
        self._stalled = self._stalled + 1 if all_of_them < _STALLED else 0
        if figures["kl"] > _EXPLODED * self._kl_limit:  # updates end early long before: one step did this
            self._unstable = PATIENCE
        elif figures["value_loss"] > _EXPLODED * self._best_value_loss:
            self._unstable += 1
        else:
            self._unstable = 0
        self._best_value_loss = min(self._best_value_loss, max(1e-3, figures["value_loss"]))
        for count, name, remedy in (
            (self._collapsed, "collapsed: nearly every token leaves at the first exit", "raise the price of an error (--error-price; of the paper's rewards, --beta)"),
            (self._stalled, "stalled: no token leaves early", "lower the price of an error, --error-price, or give deeper --exits"),
            (self._unstable, "unstable: KL or the critic's loss exploded", "try another --seed"),
        ):  # fmt: skip
            if count >= PATIENCE:
                raise Problem("internal_error", f"PPO {name}, after {self._updates} updates; {remedy}.")
