"""Monitors of a LITE run: they see its failures early, and name them.

- the loss is no number;
- an exit's loss climbs away from the best that it had;
- the last layer is damaged: its held-out loss rises by more than 1 % over the untouched model's. A last layer dips
  while the rate is high, so the guard gives it more weight until its loss is back, and stops the run when that does not
  help. What is still damaged at the end is not shipped (weights_steps.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from green_code.problems import Problem

DAMAGE = 0.01
"""How much the last layer's held-out loss may rise, as a share of the untouched model's."""
BEYOND_REPAIR = 0.10
_REBALANCE = 1.5  # the last layer's weight is multiplied by this
_HEAVIEST = 4.0
_DIVERGED = 1.5  # times the best smoothed loss
_SMOOTHING = 0.98
_SETTLED = 100  # steps until a smoothed loss says something


@dataclass
class Monitors:
    """What the monitors remember; kept in the checkpoint, so that a resumed run is watched as one that never stopped."""

    last_weight: float = 1.0
    """Factor on the recipe's weight of the last layer."""
    smoothed: dict[int, float] = field(default_factory=dict)
    best: dict[int, float] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)

    def watch(self, step: int, losses: Mapping[int, float]) -> None:
        """Cross-entropies of one step by depth.

        Raises:
            Problem: one is no number, or an exit diverges.
        """
        for depth, loss in losses.items():
            if not math.isfinite(loss):
                raise Problem(
                    "internal_error",
                    f"the loss at depth {depth} is {loss} at step {step}: the rate is too high. Begin again in another --work folder with a lower --rate.",
                )
            seen = self.seen[depth] = self.seen.get(depth, 0) + 1
            last = self.smoothed.get(depth, loss)
            smoothed = self.smoothed[depth] = _SMOOTHING * last + (1 - _SMOOTHING) * loss
            if seen < _SETTLED:
                continue
            best = self.best[depth] = min(smoothed, self.best.get(depth, smoothed))
            if smoothed > _DIVERGED * best:
                raise Problem(
                    "internal_error",
                    f"the loss at depth {depth} climbed from {best:.2f} to {smoothed:.2f} by step {step}: this exit diverges. Begin again in another --work folder with a lower --rate.",
                )

    def guard(self, untouched: Mapping[str, float], now: Mapping[str, float]) -> str | None:
        """Held-out losses of the last layer by language; a sentence if its weight is raised.

        Raises:
            Problem: the last layer is damaged beyond what more weight mends, or its loss is no number.
        """
        if not all(map(math.isfinite, now.values())):
            raise Problem(
                "internal_error",
                f"the last layer's held-out loss is no number ({dict(now)}). Begin again in another --work folder with a lower --rate.",
            )
        language, rise = worst_rise(untouched, now)
        if rise > BEYOND_REPAIR and self.last_weight >= _HEAVIEST:
            raise Problem(
                "internal_error",
                f"the last layer's held-out loss on {language} is {rise:.1%} over the untouched model's, with {self.last_weight:.1f} times its weight: this recipe damages it. Begin again in another --work folder with a lower --rate.",
            )
        if rise <= DAMAGE:
            self.last_weight = max(1.0, self.last_weight / _REBALANCE)
            return None
        self.last_weight = min(_HEAVIEST, self.last_weight * _REBALANCE)
        return f"the last layer's held-out loss on {language} is {rise:.1%} over the untouched model's; its weight is now {self.last_weight:.2f} times the recipe's"

    def state(self) -> dict[str, Any]:
        return {**vars(self)}


def worst_rise(untouched: Mapping[str, float], now: Mapping[str, float]) -> tuple[str, float]:
    """The language whose loss rose most, and by what share."""
    rises = {language: now[language] / loss - 1 for language, loss in untouched.items()}
    language = max(rises, key=rises.__getitem__)
    return language, rises[language]
