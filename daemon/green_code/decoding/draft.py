"""A guessed token, and how sure it is: what sources of drafts give and what verification teaches them."""

from __future__ import annotations

from dataclasses import dataclass

WEIGHT = 8.0  # observations that a prior counts for


@dataclass
class AcceptanceRate:
    """Mean of a Beta distribution: `right` of `asked`, both with the prior's share in them."""

    right: float
    asked: float

    @classmethod
    def prior(cls, chance: float, weight: float = WEIGHT) -> AcceptanceRate:
        return cls(chance * weight, weight)

    @property
    def chance(self) -> float:
        return self.right / self.asked

    def observe(self, right: bool) -> None:
        self.right += right
        self.asked += 1


@dataclass(frozen=True)
class Draft:
    """A guessed token, and the rate that judges it. `depth`: of the exit that gave it; L where text gave it."""

    token: int
    depth: int
    rate: AcceptanceRate
