"""Propagated KV over the exact cache: in `fast`, most of a prompt stops at the prefill exit.

Propagated positions stay at that layer. When a deeper layer first runs, it gets keys and values for them, too, projected
from their states at the prefill exit (CALM, arXiv 2207.07061; for whole prompts SwiftKV, arXiv 2410.03960):

    depth
      6  ░░░░░░██           0 … 5 are propagated from layer 4: layers 5 and 6 run over positions 6 and 7 alone,
      4  ████████           which attend to the projected keys and values of the six
         position →

Later positions that have been above the prefill exit are then approximate; `drop_propagated` forgets all that is not exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import Backend

EXACT_TAIL = 17
"""The last positions of a prompt, which are not propagated."""


class PropagatingKVCache(KVCache):
    """
    Args:
        prefill_exit: the layer at which propagated positions stay; None: nothing is ever propagated.
    Raises:
        ValueError: `prefill_exit` is no layer of the model.
    """

    def __init__(
        self, decoder: Backend, prefill_exit: int | None, interrupt: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(decoder, interrupt)
        self.prefill_exit = decoder.config.layers if prefill_exit is None else prefill_exit
        if not 1 <= self.prefill_exit <= decoder.config.layers:
            raise ValueError(f"a prefill exit at {prefill_exit}, but the model has layers 1 to {decoder.config.layers}")
        self._propagated: list[tuple[int, int]] = []  # ascending ranges of positions, the end excluded

    def propagate_before(self, length: int) -> None:
        """Propagate positions < `length` that have not been above the prefill exit; those from `length` on are exact again.

        Where later positions have been above it, what was propagated before them stays.
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
            self._forget_above(length)
        elif self._propagated:
            self._propagated.pop()
            self._forget_above(start)

    def drop_propagated(self) -> None:
        """Forget propagated KV and all that depends on it: from now on the cache is exact."""
        if self._propagated:
            start, end = self._propagated[0]
            if self._lengths[self.prefill_exit + 1] > end:
                self.truncate(end)  # later positions have no state at the prefill exit any more
            self._forget_above(start)
        self._propagated = []

    def truncate(self, length: int) -> None:
        super().truncate(length)
        self._propagated = [(start, min(end, length)) for start, end in self._propagated if start < length]

    def depth(self, position: int) -> int:
        depth = super().depth(position)
        return min(depth, self.prefill_exit) if self.is_propagated(position) else depth

    def is_propagated(self, position: int) -> bool:
        """Whether it stays at the prefill exit, and gives no token."""
        return self._count_propagated(position, position + 1) > 0

    # --- refinements of the exact cache ----------------------------------------------------------------------

    def _check(self, position: int, depth: int) -> None:
        super()._check(position, depth)
        if depth > self.prefill_exit and self.is_propagated(position):
            raise ValueError(f"position {position} is propagated from depth {self.prefill_exit}, below {depth}")

    def _span_ends(self, depth: int) -> set[int]:
        ends = super()._span_ends(depth)
        return ends | {self.prefill_exit} if self._propagated else ends

    def _fill(self, first: int, last: int, start: int, end: int, first_output: int) -> None:
        if first <= self.prefill_exit:
            super()._fill(first, last, start, end, first_output)
            return
        for begin, stop, propagated in self._split(start, end):
            if propagated:
                self._propagate(first, last, begin, stop)
            else:
                super()._fill(first, last, begin, stop, first_output)

    def _runnable(self, layer: int, start: int, end: int) -> int:
        propagated = self._count_propagated(start, end) if layer > self.prefill_exit else 0
        return super()._runnable(layer, start, end) - propagated

    # --- inside -------------------------------------------------------------------------------------------

    def _propagate(self, first: int, last: int, start: int, end: int) -> None:
        """Projected keys and values of positions that stay below layers first … last."""
        self.interrupt()
        self.decoder.project_kv(first, last, self.buffers, start, end, propagated=True)
        self._extend(first, last, start, end, kv_only=False)
        self.work.kv_only += (last + 1 - first) * (end - start)

    def _split(self, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """The positions begin … end−1 in ranges, each wholly propagated or wholly not."""
        for first, last in self._propagated:
            start, stop = max(begin, first), min(end, last)
            if start < stop:
                if begin < start:
                    yield begin, start, False
                yield start, stop, True
                begin = stop
        if begin < end:
            yield begin, end, False

    def _count_propagated(self, start: int, end: int) -> int:
        """How many of the positions start … end−1 are propagated."""
        count = 0
        for first, last in reversed(self._propagated):
            if last <= start:
                break
            count += max(0, min(last, end) - max(first, start))
        return count

    def _forget_above(self, length: int) -> None:
        """Forget what layers above the prefill exit hold of positions >= `length`, none of which has been above it."""
        above = self.prefill_exit + 1
        self._lengths[above:] = [min(count, length) for count in self._lengths[above:]]
        del self._kv_only[length:]
