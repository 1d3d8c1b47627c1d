"""The cache: a key-value cache whose upper layers may be shorter than its lower ones; exact, unless positions settle.

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

What the last layer says is for the head alone: no layer comes after it. So of positions whose token nobody asks for, as
all of a prompt's but the last, it gets keys and values and nothing more, which costs a seventeenth of running it; they
stand a layer below, and are run through it should they be asked after all.

There is one exception, for who may lose a little: positions that `propagate_before` on the prefill exit, a depth. They rise no
further; when a layer above is first run, it gets keys and values for them, too, of the states they have
(propagation: CALM, arXiv 2207.07061; of a whole prompt: SwiftKV, arXiv 2410.03960):

    depth
      6  ░░░░░░██           0 … 5 have settled on the prefill exit, 4: the layers 5 and 6 were run over 6 and 7 alone,
      4  ████████           which look at what was propagated of the six
         position →

Positions after those, once they have been above the prefill exit, are not those of full depth; `drop_propagated` forgets what is not exact.

Must not know: policies, sampling, text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from green_code.models.backend import SMALL_BATCH, Backend, TopToken

EXACT_TAIL = 16
"""Positions before the cursor's that rise with it past the prefill exit; a prompt's others settle there."""

_CAPACITY_STEP = 256  # positions
_RESERVE = 128  # positions more than are asked for, so that a completion need not wait while the cache moves


class KVCache:
    """Cache of one document (B = 1) over a decoder.

    Args:
        decoder: the model; its weights are shared between caches.
        prefill exit: depth on which positions settle, where any may.
        interrupt: called before each of the decoder's pieces of work, a tenth of a second or two at most; what it
            raises ends the operation, and the cache stays valid: the layers that were run remain, and asking
            again goes on from there.
    """

    def __init__(
        self, decoder: Backend, interrupt: Callable[[], None] = lambda: None, prefill_exit: int | None = None
    ) -> None:
        self.decoder = decoder
        self.interrupt = interrupt
        self.prefill_exit = decoder.config.layers if prefill_exit is None else prefill_exit
        if not 1 <= self.prefill_exit <= decoder.config.layers:
            raise ValueError(
                f"a prefill exit at {prefill_exit}, but the model has layers 1 to {decoder.config.layers}"
            )
        self.tokens: list[int] = []
        self.runs = 0  # layers that were run, each over a batch of positions
        self.evaluations = 0  # over how many positions: layer × position evaluations
        self.few = 0  # of these, those of the first few positions of a batch
        self.entries = 0  # keys and values alone that were made: layer × position
        self._lengths = [0] * (decoder.config.layers + 1)
        # By position, 1: the last layer has its keys and values, but has not been run over it.
        self._kv_only = bytearray()
        self._propagated: list[tuple[int, int]] = []  # positions from … up to …, in their order
        self._states, self._rows, self._keys, self._values = self._buffers(0)

    # --- the operations -----------------------------------------------------------------------------------

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

    def advance(self, position: int, depth: int, wanted: int = 0) -> Tensor:
        """Bring `position` to `depth`; positions that wait below a layer go through it in the same batch.

        Args:
            position: 0 <= position < len(self). depth: 1 <= depth <= L, not less than the position's own.
            wanted: 0 <= wanted <= position; the last layer is run over those of the positions from here on that it has not
                been run over, and makes keys and values alone of those before.
        Returns:
            Hidden state after layer `depth`, in the decoder's dtype; see `state`.
        Raises:
            ValueError: there is no such position, it is deeper already (its earlier states are gone), or it has settled below.
        Cost: the weights of each missing layer are read once, however many positions wait; the last layer's, once more for
            positions that come to be wanted later than their keys and values.
        """
        if not 0 <= position < len(self):
            raise ValueError(f"position {position} of {len(self)}")
        if not self.depth(position) <= depth < len(self._lengths):
            raise ValueError(f"position {position} stands at depth {self.depth(position)}, not below {depth}")
        if depth > self.prefill_exit and self._propagated_between(position, position + 1):
            raise ValueError(f"position {position} has settled at depth {self.prefill_exit}, below {depth}")
        if wanted > position:
            raise ValueError(f"positions from {wanted} on are wanted, and none up to {position}")
        first, final = 1, len(self._lengths) - 1
        ends = {depth, self.prefill_exit} if self._propagated else {depth}  # no span crosses the prefill exit
        if self._lengths[final] < wanted:
            ends.add(final - 1)  # nor one to the last layer, which is not for all
        while first <= depth:
            last = first
            while last not in ends and self._lengths[last + 1] == self._lengths[first]:
                last += 1
            self._run(first, last, position + 1, wanted)
            first = last + 1
        if depth == final:
            self._speak(wanted, position + 1)
        return self.state(position)

    def truncate(self, length: int) -> None:
        """Forget positions >= `length`: rejected drafts, or text that was edited away."""
        del self.tokens[length:]
        self._lengths = [min(reached, length) for reached in self._lengths]
        del self._kv_only[length:]
        self._propagated = [(start, min(stop, length)) for start, stop in self._propagated if start < length]

    def propagate_before(self, length: int) -> None:
        """Positions < `length` that have not been above the prefill exit stay there; those behind that have settled rise again.

        Where some behind have been above it, what has settled before them stays so.
        """
        above, length = self.prefill_exit + 1, min(length, len(self))
        if above == len(self._lengths):
            return
        start, end = self._propagated[-1] if self._propagated else (0, 0)
        if self._lengths[above] > end:
            if self._lengths[above] < length:
                self._propagated.append((self._lengths[above], length))
        elif length > start:
            self._propagated[-1:] = [(start, length)]
            self._lower(length)
        elif self._propagated:
            self._propagated.pop()
            self._lower(start)

    def drop_propagated(self) -> None:
        """From now on, all positions rise, and are exact: what is not is forgotten."""
        if self._propagated:
            start, end = self._propagated[0]
            if self._lengths[self.prefill_exit + 1] > end:
                self.truncate(end)  # those behind have no states on the prefill exit any more
            self._lower(start)
        self._propagated = []

    # --- what can be asked --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.tokens)

    def depth(self, position: int) -> int:
        """How many layers `position` has been through."""
        lengths = self._lengths[
            : self.prefill_exit + 1 if self._propagated_between(position, position + 1) else None
        ]
        return (
            sum(position < reached for reached in lengths) - 1 - sum(self._kv_only[position : position + 1])
        )

    def reached(self, depth: int) -> int:
        """How many positions have keys and values in layer `depth`."""
        return self._lengths[depth]

    def state(self, position: int) -> Tensor:
        """Hidden state of a position at the depth that it has reached, (C,): a view that the next operation may overwrite."""
        return self._rows[position]

    def states(self, start: int, end: int) -> Tensor:
        """Hidden states of positions start … end−1, each at the depth it has reached, (N, C)."""
        return self._states[start:end]

    def top_tokens(self, positions: Sequence[int], depth: int) -> list[TopToken]:
        """What the head says of these positions, ascending, which all stand at `depth`."""
        first, end = positions[0], positions[-1] + 1
        if end - first == len(positions):
            return self.decoder.top_tokens(self._states, first, end, depth)
        return self.decoder.top_tokens(self._states[list(positions)], 0, len(positions), depth)

    def top_token_among(self, position: int, depth: int, tokens: Tensor) -> int:
        """The likeliest of these tokens (K,) int32 behind a position, which stands at `depth`."""
        return self.decoder.top_token_among(self._states, position, depth, tokens)

    def pending(self, position: int, depth: int) -> int:
        """Layer × position evaluations that `advance(position, depth, wanted=position)` would make."""
        final = len(self._lengths) - 1
        below = sum(
            self._rising(layer, reached, position + 1)
            for layer, reached in enumerate(self._lengths[1 : min(depth, final - 1) + 1], 1)
        )
        return below + (depth == final > self.depth(position))

    def evaluations_below(self, position: int) -> int:
        """Evaluations that stand in the cache for positions < `position`."""
        through = sum(
            self._rising(layer, 0, min(position, reached))
            for layer, reached in enumerate(self._lengths[1:], 1)
        )
        return through - self._kv_only.count(1, 0, position)

    @property
    def cache_bytes(self) -> int:
        """Memory held by keys, values and states."""
        return sum(t.nbytes for t in (self._states, self._keys, self._values))

    # --- inside -------------------------------------------------------------------------------------------

    def _run(self, first: int, last: int, end: int, wanted: int) -> None:
        """Layers first … last, all of one length and on one side of the prefill exit, up to position `end` − 1.

        Where positions before `wanted` are among these, the last layer of all comes alone.
        """
        final = len(self._lengths) - 1
        for start, stop, propagated in self._stretches(self._lengths[first], end, first > self.prefill_exit):
            if propagated:
                self._propagate(first, last, start, stop, propagated)
                continue
            if first == final and start < wanted:
                kv_only, start = start, min(stop, wanted)
                self._propagate(first, last, kv_only, start, propagated)
            if start < stop:
                self._run_stretch(first, last, start, stop)

    def _speak(self, begin: int, end: int) -> None:
        """The last layer over those of the positions begin … end−1 of which it has keys and values alone."""
        final = len(self._lengths) - 1
        while (start := self._kv_only.find(1, begin, end)) >= 0:
            others = self._kv_only.find(0, start, end)
            begin = min(end, len(self._kv_only)) if others < 0 else others
            self._run_stretch(final, final, start, begin)

    def _run_stretch(self, first: int, last: int, begin: int, end: int) -> None:
        for start in range(begin, end, self.decoder.rows_at_once):
            stop = min(start + self.decoder.rows_at_once, end)
            for low in range(first, last + 1, self.decoder.layers_at_once):
                high = min(low + self.decoder.layers_at_once - 1, last)
                self.interrupt()
                self.decoder.run_layers(low, high, self._states, start, stop, self._keys, self._values)
                self._reach(low, high, start, stop, kv_only=False)
                self.runs += (high + 1 - low) * (start == begin)
                self.few += (high + 1 - low) * min(SMALL_BATCH, stop - start) * (start == begin)
                self.evaluations += (high + 1 - low) * (stop - start)

    def _propagate(self, first: int, last: int, start: int, stop: int, propagated: bool) -> None:
        self.interrupt()
        self.decoder.project_kv(first, last, self._states, start, stop, self._keys, self._values, propagated)
        self._reach(first, last, start, stop, kv_only=not propagated)
        self.entries += (last + 1 - first) * (stop - start)

    def _reach(self, first: int, last: int, start: int, stop: int, kv_only: bool) -> None:
        """Layers first … last have the positions up to `stop` now. `kv_only`: of the last of all, where it is one of them, those
        from `start` on have keys and values alone."""
        lengths = self._lengths[first : last + 1]
        self._lengths[first : last + 1] = [max(reached, stop) for reached in lengths]
        if last == len(self._lengths) - 1:
            self._kv_only[start:stop] = bytes([kv_only]) * (stop - start)

    def _lower(self, length: int) -> None:
        """Forget what layers above the prefill exit hold of positions >= `length`, which must all stand on it or below."""
        above = self.prefill_exit + 1
        self._lengths[above:] = [min(reached, length) for reached in self._lengths[above:]]
        del self._kv_only[length:]

    def _stretches(self, begin: int, end: int, above: bool) -> Iterator[tuple[int, int, bool]]:
        """The positions begin … end−1 in stretches, and whether they have settled; below the prefill exit that makes no difference."""
        for start, stop in self._propagated if above else ():
            start, stop = max(begin, start), min(end, stop)
            if start < stop:
                if begin < start:
                    yield begin, start, False
                yield start, stop, True
                begin = stop
        if begin < end:
            yield begin, end, False

    def _propagated_between(self, start: int, stop: int) -> int:
        """How many of the positions start … stop−1 have settled."""
        count = 0
        for first, end in reversed(self._propagated):
            if end <= start:
                break
            count += max(0, min(end, stop) - max(first, start))
        return count

    def _rising(self, layer: int, start: int, stop: int) -> int:
        """How many of the positions start … stop−1 have been or would be run through `layer`: those above the prefill exit that settle are not."""
        propagated = self._propagated_between(start, stop) if layer > self.prefill_exit else 0
        return max(0, stop - start) - propagated

    def _grow(self, capacity: int) -> None:
        """Room for `capacity` positions; what is cached is kept, block by block, as decoders order it themselves."""
        old = (self._states, self._keys, self._values)
        self._states, self._rows, self._keys, self._values = self._buffers(capacity)
        if self.tokens:
            for new, was in zip((self._states, self._keys, self._values), old, strict=True):
                new[..., : was.shape[-2], :] = was

    def _buffers(self, capacity: int) -> tuple[Tensor, tuple[Tensor, ...], Tensor, Tensor]:
        """Hidden states (S, C) and a view of each, keys and values (L, K, S, `cache_widths`).

        Views are made once: where caches are cold, each is slow.
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
