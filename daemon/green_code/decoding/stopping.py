"""Stop policies: end a completion where going on is too unlikely to be right, or refuse it before its first token.

`RunningProduct` is the rule: the product of the tokens' probabilities estimates that all of them are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.verifier import Decoded

SURE_LINE: Final = 0.8
"""The least probability that all so far is right with which a completion goes on over the end of a line."""


@dataclass(frozen=True, slots=True)
class StopView:
    """A completion before its next token.

    Args:
        cache: `cache.state(decoded.position)` is the state that the token was decoded from. decoded: the token.
        product: of the probabilities of all tokens, this one included. tokens, text: of the completion without it.
    """

    cache: KVCache
    decoded: Decoded
    product: float
    tokens: int
    text: str


class StopPolicy(Protocol):
    """Made for one request (`Runtime.stop`). What it computes it counts in the cache's work."""

    @property
    def refusal_depth(self) -> int | None:
        """Below L: the depth of the last prompt position at which it may refuse; None: it never does."""

    def refuses(self, cache: KVCache, position: int) -> bool:
        """Whether there will be nothing worth showing; `position` is the prompt's last, at `refusal_depth`."""

    def stops(self, view: StopView) -> bool:
        """Whether the completion ends before this token. Asked for each token that adds to the text."""


@dataclass(frozen=True)
class RunningProduct:
    """Stops where the product of the probabilities falls under `threshold`."""

    threshold: float

    @property
    def refusal_depth(self) -> None:
        return None

    def refuses(self, cache: KVCache, position: int) -> bool:
        return False

    def stops(self, view: StopView) -> bool:
        return view.product < self.threshold
