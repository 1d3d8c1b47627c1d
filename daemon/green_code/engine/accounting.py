"""The account of a request: the joules of what it computed, and of the same request at full depth with the same cache.

Both are `prices.of(work)`. Full depth's work follows from the prompt and the tokens alone, but full depth's cache holds other
positions than ours: `FullDepthCache` tells which.

Must not know: text, policies, the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.verifier import Decoded
from green_code.models.backend import SMALL_BATCH
from green_code.sequences import common
from green_code.work import Prices, Work, full_depth_work


@dataclass(frozen=True)
class FullDepthCache:
    """How much of the cache's first positions the same requests at full depth would have computed.

    All of the first `complete` positions. Of the next `begun`, requests that were interrupted or refused before their first token
    computed `layer_positions` and `kv_only`; so would full depth have been, so these are counted, and the others are not yet.
    """

    complete: int = 0
    begun: int = 0
    layer_positions: float = 0.0
    kv_only: float = 0.0

    def first(self, length: int) -> FullDepthCache:
        """The same of the first `length` positions."""
        complete = min(length, self.complete)
        begun = min(length - complete, self.begun)
        share = begun / self.begun if begun else 0.0
        return FullDepthCache(complete, begun, self.layer_positions * share, self.kv_only * share)

    def uncounted(self, layers: int, new_positions: int) -> Work:
        """What is not counted of the begun positions; it runs in the batches of `new_positions` that follow them."""
        if not self.begun:
            return Work()
        count = max(0, (layers - 1) * self.begun - round(self.layer_positions))
        small = min(SMALL_BATCH, new_positions + self.begun) - min(SMALL_BATCH, new_positions)
        kv_only = max(0, self.begun - round(self.kv_only))
        return Work(layer_positions=count, small_batch_positions=round(count * small / self.begun), kv_only=kv_only)


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
        shared: positions of the prompt that the cache held. behind: where these are all, the tokens that it held behind them.
        reused: of the shared positions, those that it still holds.
        full_depth: of the requests before.
    """

    def __init__(
        self,
        cache: KVCache,
        prompt_length: int,
        shared: int,
        behind: Sequence[int],
        reused: int,
        full_depth: FullDepthCache,
    ) -> None:
        self._cache, self._before, self._prompt_length = cache, cache.work.copy(), prompt_length
        self._prompt_before = cache.layer_positions_before(reused)
        depth = cache.depth(prompt_length - 1) if reused == prompt_length > 0 else 0
        self._last_depth = 0  # of the last position, where full depth would have to take it through the layers above
        kv_only = depth == cache.decoder.config.layers - 1 and not behind
        if full_depth.complete < prompt_length or kv_only:
            shared, self._last_depth = min(shared, prompt_length - 1), depth
        self._behind = behind[: max(0, full_depth.complete - prompt_length)] if shared == prompt_length else ()
        self._shared, self._known = shared, full_depth.first(shared + len(self._behind))
        self._first: Work | None = None
        self.full_depth = full_depth
        """What full depth's cache holds; after `close`, this request included."""

    def observed(self, stream: Iterator[Decoded]) -> Iterator[Decoded]:
        """The same tokens; notes what was done before the first."""
        before = self._cache.work.copy()
        for i, decoded in enumerate(stream):
            if i == 0:
                self._first = self._cache.work - before
            yield decoded

    def close(
        self,
        prices: Prices,
        computed: bool,
        passes: int,
        tokens: Sequence[int],
        interrupted: bool,
        alternatives: Sequence[int] = (),
    ) -> Figures:
        """
        Args:
            prices: in joules. computed: False: nothing was, and the cache holds another prompt.
            passes: the tokens that were decoded, the end of the text included. tokens: those of the completion.
            interrupted: or refused: layers above have not run over the last position.
            alternatives: `passes` of each completion that began behind the prompt besides the first.
        """
        cache, length = self._cache, self._prompt_length
        work = cache.work - self._before
        prompt_layers = cache.layer_positions_before(length) - self._prompt_before if computed else 0
        joules, full_work = prices.of(work), self._full_depth_work(passes, tokens)
        for other in alternatives:
            full_work += full_depth_work(cache.decoder.config.layers, 0, other, SMALL_BATCH)
        full_joules = prices.of(full_work)
        if interrupted:
            full_joules = max(full_joules, joules)  # so would full depth have been: no loss is counted
        self.full_depth = self._cache_at_full_depth(work, passes, interrupted)
        return Figures(work.layer_positions - prompt_layers, prompt_layers, joules, full_joules)

    def _full_depth_work(self, passes: int, tokens: Sequence[int]) -> Work:
        layers, new_positions = self._cache.decoder.config.layers, self._prompt_length - self._shared
        work = full_depth_work(layers, new_positions, passes, SMALL_BATCH, common(self._behind, tokens))
        if not passes:
            return work
        first, forward = self._first, work.head_batches - 1
        if new_positions == 0 and first is not None and not first.layer_batches:
            # Tokens that the cache held were verified at once; their heads are the same at full depth.
            work.head_batches, work.head_positions = first.head_batches + forward, first.head_positions + forward
        held = self._last_depth
        work -= Work(layer_batches=held, layer_positions=held, small_batch_positions=held)
        return work + self._known.uncounted(layers, new_positions)

    def _cache_at_full_depth(self, work: Work, passes: int, interrupted: bool) -> FullDepthCache:
        cache, known = self._cache, self._known
        if not interrupted:
            return FullDepthCache(complete=len(cache)) if passes else self.full_depth
        if not passes:
            begun = max(0, len(cache) - known.complete)
            layer_positions = known.layer_positions + self._last_depth + work.layer_positions
            return FullDepthCache(known.complete, begun, layer_positions, known.kv_only + work.kv_only)
        complete = min(len(cache), self._prompt_length + passes - 1)
        begun = cache.layer_positions_before(len(cache)) - cache.layer_positions_before(complete)
        return FullDepthCache(complete, len(cache) - complete, begun)
