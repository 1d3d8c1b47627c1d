"""The ragged KV cache: upper layers may hold fewer positions than lower ones. Exact.

Layer ℓ holds keys and values of positions 0 … len[ℓ]−1, and

    len[0] ≥ len[1] ≥ len[2] ≥ … ≥ len[L]           (len[0] counts the embedded tokens)

so drawn by depth it is a staircase. Each position has a depth, the number of layers it has been through, and keeps its
hidden state there. Going deeper with one position fills all that are pending below it, one batch a layer:

    depth                                   advance(9, depth=5) runs
      6  ████                               layer 4 over positions 4…9, then layer 5 over 4…9
      5  ████          ← len[5] = 4         (layer 3 has been through them already);
      4  ████                               layer 6 stays as it is, and position 9
      3  ██████████    ← len[3] = 10        is at depth 5
      0  ██████████
         position →

Nothing is approximated. A state at depth ℓ depends on the position's state at ℓ−1 and on the layer's keys and values of
earlier positions, and all of these exist whenever a layer runs. Held by: tests/decoding/test_kv_cache.py.

No layer reads the last layer's output. So positions whose token is not requested get keys and values alone there (KV only);
they are a layer below, and the last layer runs over them if their token is requested after all.

Must not know: policies, sampling, text, propagated KV (propagation.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from green_code.models.backend import SMALL_BATCH, Backend, ExitQuestion, TopToken
from green_code.work import Work

_CAPACITY_STEP = 256  # positions
_RESERVE = 128  # positions beyond those appended, so that the buffers do not move during a completion


class KVCache:
    """The cache of one document (B = 1).

    Args:
        decoder: the model; caches share its weights.
        interrupt: called before each of the decoder's calls, which take a tenth of a second or two at most. What it raises
            ends the operation; the cache stays valid, and the same call continues from there.
    """

    def __init__(self, decoder: Backend, interrupt: Callable[[], None] = lambda: None) -> None:
        self.decoder = decoder
        self.interrupt = interrupt
        self.tokens: list[int] = []
        self.work = Work()  # everything computed so far, the caller's decisions included
        self._lengths = [0] * (decoder.config.layers + 1)
        self._kv_only = bytearray()  # by position, 1: the last layer has only its key and value
        self.buffers = decoder.new_buffers(0)

    # --- operations ---------------------------------------------------------------------------------------

    def append(self, tokens: Sequence[int]) -> None:
        """Add positions at depth 0.

        Raises:
            ValueError: more positions than the model has.
        """
        if not tokens:
            return
        start, end = len(self), len(self) + len(tokens)
        if end > self.decoder.config.max_positions:
            raise ValueError(f"{end} positions, but the model has {self.decoder.config.max_positions}")
        if end > self.buffers.capacity:
            self.buffers.grow(-(-(end + _RESERVE) // _CAPACITY_STEP) * _CAPACITY_STEP)
        self.decoder.embed_into(self.buffers, start, tokens)
        self.tokens.extend(tokens)
        self._lengths[0] = end

    def advance(self, position: int, depth: int, first_output: int = 0) -> None:
        """Bring `position` to `depth`; positions pending below a layer run through it in the same batch.

        Args:
            position: 0 <= position < len(self). depth: the position's own depth <= depth <= L.
            first_output: 0 <= first_output <= position; the last layer runs over the positions from here on, and computes
                only keys and values of earlier ones that are pending.
        Raises:
            ValueError: there is no such position, or it is deeper already (its earlier states are overwritten).
        Cost: the weights of each missing layer are read once for up to `rows_at_once` pending positions, and the last layer's
            once more for positions whose output is requested later.
        """
        self._check(position, depth)
        if first_output > position:
            raise ValueError(f"outputs from position {first_output} on, but none up to {position}")
        first, final = 1, len(self._lengths) - 1
        span_ends = self._span_ends(depth)
        if self._lengths[final] < first_output:
            span_ends.add(final - 1)  # the last layer runs over fewer positions than those below
        while first <= depth:
            last = first
            while last not in span_ends and self._lengths[last + 1] == self._lengths[first]:
                last += 1
            self._fill(first, last, self._lengths[first], position + 1, first_output)
            first = last + 1
        if depth == final:
            self._run_last_layer(first_output, position + 1)

    def truncate(self, length: int) -> None:
        """Forget positions >= `length`: rejected drafts, or text that was edited away."""
        del self.tokens[length:]
        self._lengths = [min(count, length) for count in self._lengths]
        del self._kv_only[length:]

    # --- queries ------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.tokens)

    def depth(self, position: int) -> int:
        """How many layers `position` has been through."""
        held = sum(position < count for count in self._lengths) - 1
        return held - sum(self._kv_only[position : position + 1])

    def length(self, layer: int) -> int:
        """How many positions have keys and values in `layer`."""
        return self._lengths[layer]

    def state(self, position: int) -> np.ndarray:
        """Hidden state of a position at its depth, (C,) float32; see `Backend.state`."""
        return self.decoder.state(self.buffers, position)

    def states(self, start: int, end: int) -> np.ndarray:
        """Hidden states of positions start … end−1, each at its own depth, (N, C) float32; see `Backend.states`."""
        return self.decoder.states(self.buffers, start, end)

    def top_tokens(self, positions: Sequence[int], depth: int, question: ExitQuestion | None = None) -> list[TopToken]:
        """The head's top token behind each of these ascending positions, all at `depth`; see `Backend.top_tokens`."""
        self.work.head_batches += 1
        self.work.head_positions += len(positions)
        return self.decoder.top_tokens(self.buffers, positions, depth, question)

    def top_token_among(self, position: int, depth: int, tokens: np.ndarray) -> TopToken:
        """The top token among these (K,) int32 behind a position at `depth`."""
        self.work.head_batches += 1
        self.work.head_positions += 1
        return self.decoder.top_token_among(self.buffers, position, depth, tokens)

    def pending(self, position: int, depth: int) -> int:
        """Layer × position evaluations that `advance(position, depth, first_output=position)` would make."""
        final = len(self._lengths) - 1
        below = sum(
            self._runnable(layer, self._lengths[layer], position + 1) for layer in range(1, min(depth, final - 1) + 1)
        )
        return below + (depth == final > self.depth(position))

    def layer_positions_before(self, position: int) -> int:
        """Layer × position evaluations that the cache holds of positions < `position`."""
        held = sum(
            self._runnable(layer, 0, min(position, self._lengths[layer])) for layer in range(1, len(self._lengths))
        )
        return held - self._kv_only.count(1, 0, position)

    @property
    def cache_bytes(self) -> int:
        """Memory of keys, values and states."""
        return self.buffers.nbytes

    # --- what a cache that is not exact refines (propagation.py) ---------------------------------------------

    def _check(self, position: int, depth: int) -> None:
        if not 0 <= position < len(self):
            raise ValueError(f"position {position} of {len(self)}")
        if not self.depth(position) <= depth < len(self._lengths):
            raise ValueError(f"position {position} is at depth {self.depth(position)}, not below {depth}")

    def _span_ends(self, depth: int) -> set[int]:
        """Layers after which a span must end on the way to `depth`."""
        return {depth}

    def _fill(self, first: int, last: int, start: int, end: int, first_output: int) -> None:
        """Layers first … last, all of one length, over positions start … end−1, in pieces that the decoder takes at once."""
        if first == len(self._lengths) - 1 and start < first_output:
            kv_end = min(end, first_output)
            self._project_kv(first, last, start, kv_end)
            start = kv_end
        for begin in range(start, end, self.decoder.rows_at_once):
            stop = min(begin + self.decoder.rows_at_once, end)
            at_once = self.decoder.layers_at_once(stop - begin)
            for low in range(first, last + 1, at_once):
                high = min(low + at_once - 1, last)
                self.interrupt()
                self.decoder.run_layers(low, high, self.buffers, begin, stop)
                self._extend(low, high, begin, stop, kv_only=False)
                layers = high + 1 - low
                self.work.layer_positions += layers * (stop - begin)
                if begin == start:
                    self.work.layer_batches += layers
                    self.work.small_batch_positions += layers * min(SMALL_BATCH, stop - begin)

    def _runnable(self, layer: int, start: int, end: int) -> int:
        """How many of the positions start … end−1 run through `layer`, now or later."""
        return max(0, end - start)

    # --- inside -------------------------------------------------------------------------------------------

    def _project_kv(self, first: int, last: int, start: int, end: int) -> None:
        """Keys and values alone, which are exact in the layer above the positions' depth."""
        self.interrupt()
        self.decoder.project_kv(first, last, self.buffers, start, end, propagated=False)
        self._extend(first, last, start, end, kv_only=True)
        self.work.kv_only += (last + 1 - first) * (end - start)

    def _run_last_layer(self, start: int, end: int) -> None:
        """The last layer over those of the positions start … end−1 of which it has only keys and values."""
        final = len(self._lengths) - 1
        while (begin := self._kv_only.find(1, start, end)) >= 0:
            others = self._kv_only.find(0, begin, end)
            start = min(end, len(self._kv_only)) if others < 0 else others
            self._fill(final, final, begin, start, 0)

    def _extend(self, first: int, last: int, start: int, end: int, kv_only: bool) -> None:
        """Layers first … last hold positions up to `end` now; `kv_only`: the last layer has run over none from `start` on."""
        self._lengths[first : last + 1] = [max(count, end) for count in self._lengths[first : last + 1]]
        if last == len(self._lengths) - 1:
            self._kv_only[start:end] = bytes([kv_only]) * (end - start)
