"""A draft token and the rate at which such drafts are accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["prompt_lookup", "ngrams", "exit"]
"""Who drafts: this session's text, the corpus' n-grams, or an early exit."""

PRIOR_WEIGHT = 8.0  # observations that a prior counts for


@dataclass
class AcceptanceRate:
    """Mean of a Beta distribution: `accepted` of `seen`, the prior's share included."""

    accepted: float
    seen: float

    @classmethod
    def prior(cls, chance: float, weight: float = PRIOR_WEIGHT) -> AcceptanceRate:
        return cls(chance * weight, weight)

    @property
    def chance(self) -> float:
        return self.accepted / self.seen

    def observe(self, accepted: bool) -> None:
        self.accepted += accepted
        self.seen += 1


@dataclass(frozen=True)
class Draft:
    """A draft token. `depth`: of the exit that gave it; L where prompt lookup did. `rate`: how often its kind is
    accepted and the completion goes on behind it."""

    token: int
    depth: int
    rate: AcceptanceRate
    source: Source
