"""A key-value cache by propagation, as the paper's cached variant has it, beside a cache that is asked alike.

A token that leaves at layer E has no states above it. The cache lets its position wait and computes them when a
deeper layer is first needed. Propagation never does: as soon as the next token comes, the state at E is handed on to the
key and value projections of every layer above, in the place of the states that these layers would have been given
(state copying, as in CALM, arXiv 2207.07061). So an entry is there at once, and it is not the one of full depth.

A prompt is not propagated: all of it but its last position, which decodes the first token, goes to full depth in both, as
far as anything looks at it: of most positions, the last layer makes keys and values alone.

Held by: tests/experiments/test_propagation.py, against layers computed by hand from the decoder's modules.
Must not know: policies, sampling, text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import Backend


class PromptAtFullDepth(KVCache):
    """A cache on which positions that are put in together, a prompt, go to full depth at once, all but the last."""

    propagated = 0
    """Layer × position entries of the cache that were made of a state handed on."""

    def append(self, tokens: Sequence[int]) -> None:
        """See `KVCache.append`; of several positions, the last alone stands at depth 0 afterwards."""
        super().append(tokens)
        if len(tokens) > 1:
            last = len(self) - 2
            self.advance(last, self.decoder.config.layers, wanted=last)


class PropagatingCache(PromptAtFullDepth):
    """What stands below full depth when positions are added is handed on, and cannot be brought up any more.

    For `fast` decoding without drafts: whether they stay is decided by states that are not here. Arguments are a cache's.
    """

    def __init__(self, decoder: Backend, interrupt: Callable[[], None] = lambda: None) -> None:
        super().__init__(decoder, interrupt)
        self._skipped: dict[int, int] = {}  # by position: layers that its state was handed on to

    def append(self, tokens: Sequence[int]) -> None:
        """See `PromptAtFullDepth.append`. Positions that are there count as having been through all layers."""
        for layer in range(1, self.decoder.config.layers + 1):
            self._hand_on(layer)
        super().append(tokens)

    def truncate(self, length: int) -> None:
        super().truncate(length)
        self._skipped = {position: layers for position, layers in self._skipped.items() if position < length}

    def evaluations_below(self, position: int) -> int:
        """See `KVCache.evaluations_below`; what was handed on is none."""
        skipped = sum(layers for at, layers in self._skipped.items() if at < position)
        return super().evaluations_below(position) - skipped

    def _hand_on(self, layer: int) -> None:
        """Entries in layer `layer` for the positions that have not been through it, of the states that they have."""
        start, end = self._lengths[layer], len(self)
        if start == end:
            return
        self.decoder.project_kv(
            layer, layer, self._states, start, end, self._keys, self._values, propagated=False
        )
        self._reach(layer, layer, start, end, kv_only=False)
        self.propagated += end - start
        for position in range(start, end):
            self._skipped[position] = self._skipped.get(position, 0) + 1
