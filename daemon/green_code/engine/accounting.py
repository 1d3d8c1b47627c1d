"""The account of a request: the joules of what it computed, and of the same request at full depth with the same cache.

Both are `prices.of(work)`. Full depth's work follows from the prompt and the tokens alone, but full depth's cache holds other
positions than ours: `FullDepthCache` tells which.

Must not know: text, policies, the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import SMALL_BATCH
from green_code.work import Prices, full_depth_work, prompt_layer_positions


@dataclass(frozen=True)
class FullDepthCache:
    """How much of the cache's first positions the same requests at full depth would have computed.

    All of the first `complete` positions. Of the next `begun`, requests that were interrupted or refused before their first token
    computed `layer_positions`; so would full depth have been, so these are counted, and the others are not yet.
    """

    complete: int = 0
    begun: int = 0
    layer_positions: float = 0.0

    def first(self, length: int) -> FullDepthCache:
        """The same of the first `length` positions."""
        complete = min(length, self.complete)
        begun = min(length - complete, self.begun)
        return FullDepthCache(complete, begun, self.layer_positions * begun / self.begun if begun else 0.0)

    def uncounted(self, layers: int) -> int:
        """Layer × position evaluations of the begun positions that are not counted."""
        return max(0, prompt_layer_positions(layers, self.begun) - round(self.layer_positions))


@dataclass(frozen=True)
class Figures:
    """What a request computed and cost. Layers are layer × position evaluations; keys and values alone are none."""

    layers_run: int  # of generated positions
    prompt_layers_run: int  # of prompt positions
    joules: float
    full_joules: float


class RequestAccount:
    """Opened before a request computes anything, closed when it has ended.

    Args:
        shared: positions of the prompt that the cache held. reused: of these, those that it still holds.
        full_depth: of the requests before.
    """

    def __init__(
        self, cache: KVCache, prompt_length: int, shared: int, reused: int, full_depth: FullDepthCache
    ) -> None:
        self._cache, self._before, self._prompt_length = cache, cache.work.copy(), prompt_length
        self._prompt_before = cache.layer_positions_before(reused)
        if full_depth.complete < prompt_length:
            shared = min(shared, prompt_length - 1)  # it would still have to run the last position
        self._shared, self._known = shared, full_depth.first(shared)
        self._behind = max(0, full_depth.complete - prompt_length)
        self.full_depth = full_depth
        """What full depth's cache holds; after `close`, this request included."""

    def close(self, prices: Prices, computed: bool, passes: int, resumed: int, interrupted: bool) -> Figures:
        """
        Args:
            prices: in joules. computed: False: nothing was, and the cache holds another prompt.
            passes: the tokens that were decoded, the end of the text included. resumed: of the tokens, those that the cache held.
            interrupted: or refused before the first token.
        """
        cache, known, layers = self._cache, self._known, self._cache.decoder.config.layers
        work = cache.work - self._before
        prompt_layers = cache.layer_positions_before(self._prompt_length) - self._prompt_before if computed else 0
        new_positions, resumed = self._prompt_length - self._shared, min(resumed, self._behind)
        full_work = full_depth_work(layers, new_positions, passes, SMALL_BATCH, resumed)
        if passes:
            full_work = replace(full_work, layer_positions=full_work.layer_positions + known.uncounted(layers))
            self.full_depth = FullDepthCache(complete=len(cache))
        elif interrupted:
            begun = max(0, len(cache) - known.complete)
            counted = known.layer_positions + work.layer_positions
            self.full_depth = FullDepthCache(known.complete, begun, counted)
        joules, full_joules = prices.of(work), prices.of(full_work)
        if interrupted:
            full_joules = max(full_joules, joules)  # so would full depth have been: no loss is counted
        return Figures(work.layer_positions - prompt_layers, prompt_layers, joules, full_joules)
