"""Stop policies: end a completion where going on is too unlikely to be right, or refuse it before its text begins.

`RunningProduct` is the rule: the product of the tokens' probabilities estimates that all of them are right. `StopAgent` is
learned. Either may have a `Refusal`, which sees what they cannot: the hidden state at low layers and the place of the cursor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.stop_network import StopNetwork
from green_code.decoding.value_heads import ValueHeads
from green_code.decoding.verifier import Decoded
from green_code.work import Work

SURE_LINE: Final = 0.8
"""The least probability that all so far is right with which a completion goes on over the end of a line."""


@dataclass(frozen=True, slots=True)
class StopView:
    """A completion before its next token.

    Args:
        decoded: the token. product: of the probabilities of all tokens, this one included.
        tokens: how many the completion has. characters: of its text, both without this token.
    """

    decoded: Decoded
    product: float
    tokens: int
    characters: int


class Counting(Protocol):
    """What counts the work of stop policies: a cache."""

    @property
    def work(self) -> Work: ...


class StopPolicy(Protocol):
    """Made for one request (`Runtime.stop`). What it computes it counts in the cache's work."""

    @property
    def threshold(self) -> float:
        """The completion ends before the first token with which `right` is lower."""

    @property
    def refusal(self) -> Refusal | None:
        """Who may refuse the request before its text begins; None: nobody."""

    def right(self, counting: Counting, view: StopView) -> float:
        """The probability that all text up to this token is right. Asked for each token that adds to the text."""


@dataclass(frozen=True)
class Refusal:
    """Refuses a request from whose suggestion too little would be accepted.

    Args:
        bounds: by depth below L, ascending, the least characters that the value head there must expect.
        place: features of the cursor's place (`CompletionParams`).
    """

    heads: ValueHeads
    bounds: Mapping[int, float]
    place: Sequence[float]

    @property
    def depths(self) -> Sequence[int]:
        """Where a position may be refused, behind which the text's first token would come."""
        return tuple(self.bounds)

    def refuses(self, cache: KVCache, position: int, depth: int) -> bool:
        """Whether there will be nothing worth showing behind `position`, which is at `depth`."""
        cache.work.decisions += 1
        return self.heads.characters(depth, cache.state(position), self.place) < self.bounds[depth]


@dataclass(frozen=True)
class RunningProduct:
    """The product of the probabilities."""

    threshold: float
    refusal: Refusal | None = None

    def right(self, counting: Counting, view: StopView) -> float:
        return view.product


@dataclass(frozen=True)
class StopAgent:
    """
    Args:
        line: the text before the cursor on its line.
    """

    network: StopNetwork
    threshold: float
    line: str
    refusal: Refusal | None = None

    def right(self, counting: Counting, view: StopView) -> float:
        counting.work.decisions += 1
        return self.network.right(view.product, view.decoded.log_odds, view.tokens, view.characters, self.line)
