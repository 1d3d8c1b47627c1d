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

from green_code.models.decoder import Decoder

_ROWS = 512  # how many positions go through a layer at once; bounds the attention mask's memory
_FIRST_CAPACITY = 256


class Staircase:
    """Cache of one document (B = 1) over a decoder.

    Args:
        decoder: the model; its weights are shared between staircases.
        interrupt: called before each run of a layer; what it raises ends the operation, and the staircase
            stays valid: the layers that were run remain, and asking again goes on from there.
    """

    def __init__(self, decoder: Decoder, interrupt: Callable[[], None] = lambda: None) -> None:
        self.decoder = decoder
        self.interrupt = interrupt
        self.tokens: list[int] = []
        self.runs = 0  # how often a layer's weights were read
        self.evaluations = 0  # over how many positions: layer × position evaluations
        self._lengths = [0] * (decoder.config.layers + 1)
        self._states, self._keys, self._values = self._buffers(_FIRST_CAPACITY)

    # --- the three operations -----------------------------------------------------------------------------

    @torch.inference_mode()
    def append(self, tokens: Sequence[int]) -> None:
        """Add positions at depth 0."""
        if not tokens:
            return
        start, end = len(self), len(self) + len(tokens)
        if end > self.decoder.config.max_positions:
            raise ValueError(f"{end} positions, but the model has {self.decoder.config.max_positions}")
        if end > self._states.shape[1]:
            self._grow(1 << (end - 1).bit_length())
        ids = torch.tensor([list(tokens)], device=self.decoder.device)
        self._states[:, start:end] = self.decoder.embed_tokens(ids, start)
        self.tokens.extend(tokens)
        self._lengths[0] = end

    @torch.inference_mode()
    def advance(self, position: int, depth: int) -> Tensor:
        """Bring `position` to `depth`; positions that wait below a layer go through it in the same batch.

        Args:
            position: 0 <= position < len(self). depth: 1 <= depth <= L, not less than the position's own.
        Returns:
            Hidden state after layer `depth`, (C,), in the decoder's dtype: a view that the next operation may
            overwrite.
        Raises:
            ValueError: there is no such position, or it is deeper already (its earlier states are gone).
        Cost: the weights of each missing layer are read once, however many positions wait.
        """
        if not 0 <= position < len(self):
            raise ValueError(f"position {position} of {len(self)}")
        if not self.depth(position) <= depth < len(self._lengths):
            raise ValueError(f"position {position} stands at depth {self.depth(position)}, not below {depth}")
        for layer in range(1, depth + 1):
            for start in range(self._lengths[layer], position + 1, _ROWS):
                self._run(layer, start, min(start + _ROWS, position + 1))
        return self._states[0, position]

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

    def states(self, start: int, end: int) -> Tensor:
        """Hidden states of positions start … end−1, each at the depth it has reached, (N, C)."""
        return self._states[0, start:end]

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

    def _run(self, layer: int, start: int, end: int) -> None:
        self.interrupt()
        states = self._states[:, start:end]
        states.copy_(
            self.decoder.run_layer(layer, states, start, (self._keys[layer - 1], self._values[layer - 1]))
        )
        self._lengths[layer] = end
        self.runs += 1
        self.evaluations += end - start

    def _grow(self, capacity: int) -> None:
        """Room for `capacity` positions; what is cached is kept."""
        used, old = len(self), (self._states, self._keys, self._values)
        self._states, self._keys, self._values = self._buffers(capacity)
        for new, was in zip((self._states, self._keys, self._values), old, strict=True):
            new[..., :used, :] = was[..., :used, :]

    def _buffers(self, capacity: int) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states (1, S, C), keys and values (L, 1, K, S, D)."""
        config = self.decoder.config
        cached = (config.layers, 1, config.kv_heads, capacity, config.head_width)
        return self._zeros(1, capacity, config.width), self._zeros(*cached), self._zeros(*cached)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.decoder.dtype, device=self.decoder.device)
