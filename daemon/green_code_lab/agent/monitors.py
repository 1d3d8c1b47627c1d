"""Monitors of a PPO run: each kind of failure ends it with a name and a remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from green_code.problems import Problem

PATIENCE = 8  # updates in a row
_COLLAPSED = 0.995  # share of tokens that leave at the first exit
_STALLED = 0.005  # share of tokens that leave at all
_EXPLODED = 20.0  # times the KL limit, or the smallest value loss so far
_FAILURES = {
    "collapsed": "nearly every token leaves at the first exit, after {updates} updates; raise the price of an error (--error-price; with the paper's rewards, --beta)",
    "stalled": "no token leaves early, after {updates} updates; lower the price of an error, --error-price, or use deeper --exits",
    "unstable": "KL or the critic's loss exploded, after {updates} updates; try another --seed",
}


class Monitor:
    """Checks a PPO run after every update."""

    def __init__(self, exits: int, kl_limit: float) -> None:
        self._exits, self._kl_limit = exits, kl_limit
        self._counts = dict.fromkeys(_FAILURES, 0)
        self._updates, self._best_value_loss = 0, math.inf

    def check(self, mean_return: float, exits: np.ndarray, tokens: int, figures: Mapping[str, float]) -> None:
        """One update: how many tokens left at each exit, of how many.

        Raises Problem where the run is not finite, collapsed, stalled or unstable.
        """
        self._updates += 1
        if not all(math.isfinite(x) for x in (mean_return, *figures.values())):
            raise Problem(
                "internal_error",
                f"PPO is not finite after {self._updates} updates ({dict(figures)}); try another --seed.",
            )
        first, early = exits[0] / max(1, tokens), exits.sum() / max(1, tokens)
        kl_exploded = figures["kl"] > _EXPLODED * self._kl_limit  # updates end far below it: one step did this
        signs = {
            "collapsed": first > _COLLAPSED and self._exits > 1,  # one exit is no choice
            "stalled": early < _STALLED,
            "unstable": kl_exploded or figures["value_loss"] > _EXPLODED * self._best_value_loss,
        }
        self._best_value_loss = min(self._best_value_loss, max(1e-3, figures["value_loss"]))
        for name, sign in signs.items():
            self._counts[name] = self._counts[name] + 1 if sign else 0
            if self._counts[name] >= PATIENCE or (name == "unstable" and kl_exploded):
                message = _FAILURES[name].format(updates=self._updates)
                raise Problem("internal_error", f"PPO {name}: {message}.")
