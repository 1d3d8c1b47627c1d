"""What a replay is worth, and the figures of a set of replays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from green_code_lab.replay.typist import Typed


@dataclass(frozen=True)
class Prices:
    """In accepted keys: of a suggestion that was seen and wrong, and of a joule."""

    wrong: float
    energy: float

    def objective(self, typed: Typed) -> float:
        """Accepted keys less both prices."""
        return typed.accepted - self.wrong * typed.rejected - self.energy * typed.joules


PRESETS = {"eager": Prices(0.25, 1.0), "balanced": Prices(1.0, 2.0), "sure": Prices(4.0, 4.0)}
"""The prices under which each preset is the best of its policy."""


def figures(typed: Sequence[Typed]) -> dict[str, Any]:
    """Sums over replays, as the calibration has them."""
    keys, accepted, shown, joules = (
        sum(getattr(each, name) for each in typed) for name in ("keys", "accepted", "shown", "joules")
    )
    return {
        "accepted": accepted / keys,
        "right": sum(each.right for each in typed) / max(1, shown),
        "joules_per_character": joules / max(1, accepted),
        "shown_per_100": 100 * shown / keys,
        "rejected_per_100": 100 * sum(each.rejected for each in typed) / keys,
    }
