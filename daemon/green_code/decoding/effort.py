"""What a completion runs beside layers, and the price of all that it runs.

Must not know: what the prices are of (joules, in service).
"""

from __future__ import annotations

from dataclasses import dataclass

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import Prices


@dataclass
class Effort:
    """What was run beside layers.

    `heads` counts how often the head's weights were read (once, too, for a choice among some tokens), `head_rows` over how
    many positions; `decisions` runs of the exit classifier; `passes` the tokens that were finished, the end of the text included: full depth needs a pass each.
    """

    heads: int = 0
    head_rows: int = 0
    decisions: int = 0
    passes: int = 0

    def count_head(self, rows: int = 1) -> None:
        self.heads += 1
        self.head_rows += rows


def spent(cache: KVCache, effort: Effort, prices: Prices) -> float:
    """The price of all that was run so far; keys and values alone are left out, here and in what full depth would spend."""
    body = (
        prices.run * cache.runs + prices.few * cache.few + prices.evaluation * (cache.evaluations - cache.few)
    )
    heads = prices.head * effort.heads + prices.head_row * effort.head_rows
    return body + heads + prices.decision * effort.decisions
