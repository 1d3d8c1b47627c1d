"""Monitors of a LITE run: each detects one kind of failure early, and names it.

- a loss is not finite;
- an exit's loss diverges from its best;
- the last layer is damaged: its held-out loss is more than 1 % above the untouched model's. The guard then raises the
  last layer's weight until the loss recovers, and stops the run when that does not help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from green_code.problems import Problem

DAMAGE = 0.01
"""Relative rise of the last layer's held-out loss above which its weight is raised."""
BEYOND_REPAIR = 0.10
_WEIGHT_STEP, _MAX_WEIGHT = 1.5, 4.0  # the last layer's weight: one change, and the limit
_DIVERGED = 1.5  # times the best smoothed loss
_SMOOTHING = 0.98
_WARM_UP = 100  # steps until a smoothed loss is meaningful
_RESTART = "Restart in another --work folder with a lower --rate."


@dataclass
class Monitors:
    """State of the monitors; it is kept in the checkpoint, so that a resumed run is monitored as one that never stopped."""

    last_weight: float = 1.0
    """Factor on the recipe's weight of the last layer."""
    smoothed: dict[int, float] = field(default_factory=dict)
    best: dict[int, float] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Monitors:
        """Of what `asdict` gives, whose keys JSON made texts."""
        by_depth = {
            name: {int(depth): value for depth, value in stored[name].items()} for name in ("smoothed", "best", "seen")
        }
        return cls(stored["last_weight"], **by_depth)

    def check_losses(self, step: int, losses: Mapping[int, float]) -> None:
        """Cross-entropies of one step by depth. Raises Problem where one is not finite, or an exit diverges."""
        for depth, loss in losses.items():
            if not math.isfinite(loss):
                raise _failure(f"the loss at depth {depth} is {loss} at step {step}: the rate is too high")
            seen = self.seen[depth] = self.seen.get(depth, 0) + 1
            last = self.smoothed.get(depth, loss)
            smoothed = self.smoothed[depth] = _SMOOTHING * last + (1 - _SMOOTHING) * loss
            if seen < _WARM_UP:
                continue
            best = self.best[depth] = min(smoothed, self.best.get(depth, smoothed))
            if smoothed > _DIVERGED * best:
                raise _failure(
                    f"the loss at depth {depth} rose from {best:.2f} to {smoothed:.2f} by step {step}: this exit diverges"
                )

    def guard(self, untouched: Mapping[str, float], now: Mapping[str, float]) -> str | None:
        """Compare the last layer's held-out losses by language; returns a warning where its weight is raised.

        Raises Problem where the last layer is damaged beyond repair, or its loss is not finite.
        """
        if not all(map(math.isfinite, now.values())):
            raise _failure(f"the last layer's held-out loss is not finite ({dict(now)})")
        language, rise = worst_rise(untouched, now)
        found = f"the last layer's held-out loss on {language} is {rise:.1%} above the untouched model's"
        if rise > BEYOND_REPAIR and self.last_weight >= _MAX_WEIGHT:
            raise _failure(f"{found}, at {self.last_weight:.1f} times its weight: this recipe damages it")
        if rise <= DAMAGE:
            self.last_weight = max(1.0, self.last_weight / _WEIGHT_STEP)
            return None
        self.last_weight = min(_MAX_WEIGHT, self.last_weight * _WEIGHT_STEP)
        return f"{found}; its weight is now {self.last_weight:.2f} times the recipe's"


def _failure(found: str) -> Problem:
    return Problem("internal_error", f"{found}. {_RESTART}")


def worst_rise(untouched: Mapping[str, float], now: Mapping[str, float]) -> tuple[str, float]:
    """The language whose loss rose most, and its relative rise."""
    rises = {language: now[language] / loss - 1 for language, loss in untouched.items()}
    language = max(rises, key=rises.__getitem__)
    return language, rises[language]
