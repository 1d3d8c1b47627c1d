"""The staircase: an exact key-value cache whose upper layers may be shorter than its lower ones.

Layer ℓ holds keys and values of positions 0 … len[ℓ]−1, and

    len[0] ≥ len[1] ≥ len[2] ≥ … ≥ len[L]           (len[0] counts the embedded tokens)

so every position stands on a step: the depth it has reached, where its hidden state waits. Going deeper with one
position takes along all that wait below it, in one batch a layer:

    depth                                   advance(9, depth=5) runs
      6  ████                               layer 4 over positions 4…9 and layer 5 over 4…9
      5  ████          ← len[5] = 4         (layer 3 has been through them already);
      4  ████                               layer 6 stays as it is, and position 9
      3  ██████████    ← len[3] = 10        now stands at depth 5
      0  ██████████
         position →

Nothing is approximated. A position's state at depth ℓ depends on its own state at ℓ−1 and on the keys and values
of the same layer for earlier positions, and all of these are there whenever a layer is run; the order in which
positions rise makes no difference. Held by: tests/decoding/test_staircase.py, on random sequences of operations.

Must not know: policies, sampling, text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from green_code.models.serving import FEW, Served

_CAPACITY_STEP = 256  # positions
_RESERVE = 128  # positions more than are asked for, so that a completion need not wait while the cache moves


class Staircase:
    """Cache of one document (B = 1) over a decoder.

    Args:
        decoder: the model; its weights are shared between staircases.
        interrupt: called before each of the decoder's pieces of work, a tenth of a second or two at most; what it
            raises ends the operation, and the staircase stays valid: the layers that were run remain, and asking
            again goes on from there.
    """

    def __init__(self, decoder: Served, interrupt: Callable[[], None] = lambda: None) -> None:
        self.decoder = decoder
        self.interrupt = interrupt
        self.tokens: list[int] = []
        self.runs = 0  # layers that were run, each over a batch of positions
        self.evaluations = 0  # over how many positions: layer × position evaluations
        self.few = 0  # of these, those of the first few positions of a batch
        self._lengths = [0] * (decoder.config.layers + 1)
        self._states, self._rows, self._keys, self._values = self._buffers(_CAPACITY_STEP)

    # --- the three operations -----------------------------------------------------------------------------

    def append(self, tokens: Sequence[int]) -> None:
        """Add positions at depth 0."""
        if not tokens:
            return
        start, end = len(self), len(self) + len(tokens)
        if end > self.decoder.config.max_positions:
            raise ValueError(f"{end} positions, but the model has {self.decoder.config.max_positions}")
        if end > self._states.shape[0]:
            self._grow(-(-(end + _RESERVE) // _CAPACITY_STEP) * _CAPACITY_STEP)
        self.decoder.embed_into(self._states, start, tokens)
        self.tokens.extend(tokens)
        self._lengths[0] = end

    def advance(self, position: int, depth: int) -> Tensor:
        """Bring `position` to `depth`; positions that wait below a layer go through it in the same batch.

        Args:
            position: 0 <= position < len(self). depth: 1 <= depth <= L, not less than the position's own.
        Returns:
            Hidden state after layer `depth`, in the decoder's dtype; see `state`.
        Raises:
            ValueError: there is no such position, or it is deeper already (its earlier states are gone).
        Cost: the weights of each missing layer are read once, however many positions wait.
        """
        if not 0 <= position < len(self):
            raise ValueError(f"position {position} of {len(self)}")
        if not self.depth(position) <= depth < len(self._lengths):
            raise ValueError(f"position {position} stands at depth {self.depth(position)}, not below {depth}")
        first = 1
        while first <= depth:
            last = first
            while last < depth and self._lengths[last + 1] == self._lengths[first]:
                last += 1
            self._run(first, last, position + 1)
            first = last + 1
        return self.state(position)

    def truncate(self, length: int) -> None:
        """Forget positions >= `length`: rejected drafts, or text that was edited away."""
        del self.tokens[length:]
        self._lengths = [min(reached, length) for reached in self._lengths]

    # --- what can be asked --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.tokens)

    def depth(self, position: int) -> int:
        """How many layers `position` has been through."""
        return sum(position < reached for reached in self._lengths) - 1

    def reached(self, depth: int) -> int:
        """How many positions have been through layer `depth`."""
        return self._lengths[depth]

    def state(self, position: int) -> Tensor:
        """Hidden state of a position at the depth that it has reached, (C,): a view that the next operation may overwrite."""
        return self._rows[position]

    def states(self, start: int, end: int) -> Tensor:
        """Hidden states of positions start … end−1, each at the depth it has reached, (N, C)."""
        return self._states[start:end]

    def debt(self, position: int, depth: int) -> int:
        """Layer × position evaluations that `advance(position, depth)` would make."""
        return sum(max(0, position + 1 - reached) for reached in self._lengths[1 : depth + 1])

    def evaluations_below(self, position: int) -> int:
        """Evaluations that stand in the cache for positions < `position`."""
        return sum(min(position, reached) for reached in self._lengths[1:])

    @property
    def cache_bytes(self) -> int:
        """Memory held by keys, values and states."""
        return sum(t.nbytes for t in (self._states, self._keys, self._values))

    # --- inside -------------------------------------------------------------------------------------------

    def _run(self, first: int, last: int, end: int) -> None:
        """Layers first … last, all of one length, up to position `end` − 1."""
        begin = self._lengths[first]
        for start in range(begin, end, self.decoder.rows_at_once):
            stop = min(start + self.decoder.rows_at_once, end)
            for low in range(first, last + 1, self.decoder.layers_at_once):
                high = min(low + self.decoder.layers_at_once - 1, last)
                self.interrupt()
                self.decoder.run_layers(low, high, self._states, start, stop, self._keys, self._values)
                self._lengths[low : high + 1] = [stop] * (high + 1 - low)
                self.runs += (high + 1 - low) * (start == begin)
                self.few += (high + 1 - low) * min(FEW, stop - start) * (start == begin)
                self.evaluations += (high + 1 - low) * (stop - start)

    def _grow(self, capacity: int) -> None:
        """Room for `capacity` positions; what is cached is kept, block by block, as decoders order it themselves."""
        old = (self._states, self._keys, self._values)
        self._states, self._rows, self._keys, self._values = self._buffers(capacity)
        if self.tokens:
            for new, was in zip((self._states, self._keys, self._values), old, strict=True):
                new[..., : was.shape[-2], :] = was

    def _buffers(self, capacity: int) -> tuple[Tensor, tuple[Tensor, ...], Tensor, Tensor]:
        """Hidden states (S, C) and a view of each, keys and values (L, K, S, `cache_widths`).

        Views are made once: where caches are cold, one takes 25 µs.
        """
        config, decoder = self.decoder.config, self.decoder
        states = torch.zeros(capacity, config.width, dtype=decoder.dtype, device=decoder.device)
        keys, values = (
            torch.zeros(
                config.layers,
                config.kv_heads,
                capacity,
                width,
                dtype=decoder.cache_dtype,
                device=decoder.device,
            )
            for width in decoder.cache_widths
        )
        return states, states.unbind(), keys, values
