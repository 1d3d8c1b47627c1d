"""Stop policies: end a completion where going on is too unlikely to be right, or refuse it before its text begins.

`RunningProduct` is the rule: the product of the tokens' probabilities estimates that all of them are right. `StopAgent` is
learned: it sees what the rule cannot, the hidden state at a low layer and the place of the cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.stop_network import StopNetwork
from green_code.decoding.verifier import Decoded

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


class StopPolicy(Protocol):
    """Made for one request (`Runtime.stop`). What it computes it counts in the cache's work."""

    @property
    def threshold(self) -> float:
        """The completion ends before the first token with which `right` is lower."""

    @property
    def refusal_depth(self) -> int | None:
        """Below L: where a position may be refused, behind which the text's first token would come; None: it never refuses."""

    def refuses(self, cache: KVCache, position: int) -> bool:
        """Whether there will be nothing worth showing behind `position`, which is at `refusal_depth`."""

    def right(self, cache: KVCache, view: StopView) -> float:
        """The probability that all text up to this token is right. Asked for each token that adds to the text."""


@dataclass(frozen=True)
class RunningProduct:
    """The product of the probabilities."""

    threshold: float

    @property
    def refusal_depth(self) -> None:
        return None

    def refuses(self, cache: KVCache, position: int) -> bool:
        return False

    def right(self, cache: KVCache, view: StopView) -> float:
        return view.product


@dataclass(frozen=True)
class StopAgent:
    """
    Args:
        refusal: the least probability that something right will be shown; 0: it never refuses.
        place: features of the cursor's place (`CompletionParams`); without them it never refuses. line: the text before the cursor
            on its line.
    """

    network: StopNetwork
    threshold: float
    refusal: float
    place: Sequence[float]
    line: str

    @property
    def refusal_depth(self) -> int | None:
        return self.network.depth if self.refusal > 0 and len(self.place) == self.network.place_features else None

    def refuses(self, cache: KVCache, position: int) -> bool:
        cache.work.decisions += 1
        return self.network.promise(cache.state(position), self.place) < self.refusal

    def right(self, cache: KVCache, view: StopView) -> float:
        cache.work.decisions += 1
        return self.network.right(view.product, view.decoded.log_odds, view.tokens, view.characters, self.line)
