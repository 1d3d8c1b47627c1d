"""A decoder whose layers and head are graphs of Triton kernels. `models.torch_decoder.Decoder` is its reference and its fallback.

A span of layers over up to 16 rows waits until it is known what is read behind it: with the top tokens and an exit classifier's decision
it is one graph, 16 bytes a row come back, and the host waits once. Graphs are recorded when they are first needed, for a span, a bucket
of rows and a bucket of lengths; they serve all caches. More rows than a graph has are launched one by one, and nobody waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.gpu.buffers import GpuBuffers
from green_code.gpu.control import POSITIONS, ROWS_AT_MOST
from green_code.gpu.control_ring import ControlRing
from green_code.gpu.exit_probability import GpuExitProbability
from green_code.gpu.graphs import Graph, Launcher, Machine
from green_code.gpu.kernels_norm import embed_rows
from green_code.gpu.packing import HEAD, padded
from green_code.gpu.plan import SPLIT, HeadScratch, Plan, Scratch, power_of_two
from green_code.gpu.weights import Weights
from green_code.kernels.packing import head_weight, lens_name
from green_code.models.backend import Buffers, ExitParameters, ExitQuestion, TopToken, top_token_of
from green_code.models.shapes import POSITIONS as LEARNED
from green_code.models.torch_block import softcapped

ROW_BUCKETS: Final = (1, 2, 4, 8, 16)
_PREFILL_ROWS = 256


@dataclass(frozen=True)
class _Span:
    """Layers that have yet to run over positions start … stop − 1."""

    first: int
    last: int
    buffers: GpuBuffers
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


class GpuDecoder:
    """See `Backend`.

    Args:
        dtype, block: see `Plan`. gpu: the UUID of the card. name: of the card, for people.
        make_room: called before memory is allocated, with its bytes; raises where there is none.
    """

    rows_at_once = _PREFILL_ROWS

    def __init__(
        self,
        weights: Weights,
        machine: Machine,
        dtype: torch.dtype = torch.bfloat16,
        block: int = 16,
        gpu: str | None = None,
        name: str = "stand-in",
        make_room: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.config, self.weights, self.machine, self.gpu, self._name = weights.config, weights, machine, gpu, name
        self.device, self._make_room = machine.device, make_room
        self.plan = Plan(weights, dtype, machine.device, block)
        self._like = self.plan.like()
        self._rows: dict[tuple[int, int], Scratch] = {}
        self._head = HeadScratch(self.config, weights.extras.rank, 1, self._like)
        self._products: dict[int, HeadScratch] = {1: self._head}
        self._graphs: dict[Any, Graph] = {}
        self._keep: list[object] = []
        self._ring = ControlRing(machine, self.plan.control)
        self._results = machine.on_host(ROWS_AT_MOST, 4, dtype=torch.float32)
        self._state = machine.on_host(self.config.width, dtype=torch.float32)
        self._waiting: _Span | None = None

    # --- Backend ------------------------------------------------------------------------------------------

    @property
    def description(self) -> str:
        return f"Triton, {self._bits}, {self._name}"

    @property
    def build(self) -> str:
        extras = self.weights.extras
        return f"Triton 1, {self._bits}, {self._name}, SVD head {extras.rank}, lenses {sorted(extras.lenses)}"

    @property
    def has_svd_head(self) -> bool:
        return self.weights.extras.rank > 0

    def layers_at_once(self, rows: int) -> int:
        return self.config.layers

    def serve(self) -> None:
        """See `Backend`."""

    def close(self) -> None:
        """See `Backend`."""
        self._graphs.clear()
        self._rows.clear()
        self._waiting = None
        del self.weights, self.plan, self._ring, self._head, self._products
        if self.device.type == "cuda":
            with contextlib.suppress(RuntimeError):  # the card is lost
                torch.cuda.empty_cache()

    def synchronise(self) -> None:
        """See `Backend`."""
        self._flush()
        self._ring.wait()

    def new_buffers(self, capacity: int) -> GpuBuffers:
        """See `Backend`."""
        return GpuBuffers(self.config, self._like, capacity, self._make_room)

    def embed_into(self, buffers: Buffers, start: int, tokens: Sequence[int]) -> None:
        """See `Backend`.

        Raises:
            ValueError: there is no such token or position.
        """
        self._flush()
        c, count = self.config, len(tokens)
        own = self._own(buffers, start, start + count)
        if not all(0 <= token < c.vocabulary for token in tokens):
            raise ValueError(f"tokens must be of the {c.vocabulary} that are embedded")
        learned = self.weights.tables.get(LEARNED)
        if learned is not None and start + count > c.max_positions:
            raise ValueError(f"positions {start} … {start + count - 1} of {c.max_positions} that are learned")
        few = count <= ROWS_AT_MOST
        ids = self.plan.control[1, POSITIONS.value :] if few else torch.tensor(list(tokens)).to(self.device)
        rows = _bucket(count) if few else count

        def body(launch: Launcher) -> None:
            launch(
                embed_rows, (rows,), self.plan.control[0], ids, self.plan.embedding, self.plan.embedding if learned is None else learned,
                c.width, c.embedding_scale, c.row.learned_position_offset, LEARNED=learned is not None, BLOCK=power_of_two(c.width),
            )  # fmt: skip

        graph = self._graph(("embed", rows), body) if few else None
        self._ring.tell(own, start, count, positions=tokens if few else ())
        body(self.machine.launch) if graph is None else graph.replay()

    def run_layers(self, first: int, last: int, buffers: Buffers, start: int, stop: int) -> None:
        """See `Backend`; nothing is waited for.

        Raises:
            ValueError: the buffers are of another model, or a bound is outside of them.
        """
        self._flush()
        own = self._own(buffers, start, stop)
        if not 1 <= first <= last <= self.config.layers:
            raise ValueError(f"layers {first} … {last} of {self.config.layers}")
        if stop - start > ROWS_AT_MOST:
            self._ring.tell(own, start, stop - start)
            scratch = self._scratch(stop - start, 1)
            self.plan.prefill(self.machine.launch, first, last, scratch, start, (own.keys, own.values))
        elif stop > start:
            self._waiting = _Span(first, last, own, start, stop)

    def project_kv(self, first: int, last: int, buffers: Buffers, start: int, stop: int, propagated: bool) -> None:
        """See `Backend`; errors are those of `run_layers`."""
        self._flush()
        own = self._own(buffers, start, stop)
        for begin in range(start, stop, _PREFILL_ROWS):
            rows = min(_PREFILL_ROWS, stop - begin)
            few = rows <= ROWS_AT_MOST
            scratch = self._scratch(_bucket(rows) if few else rows, 1)

            def body(launch: Launcher, scratch: Scratch = scratch) -> None:
                for layer in range(first, last + 1):
                    self.plan.keys_values(launch, layer, scratch, propagated)

            graph = self._graph(("keys and values", first, last, scratch.rows, propagated), body) if few else None
            self._ring.tell(own, begin, rows)
            body(self.machine.launch) if graph is None else graph.replay()

    def top_tokens(
        self, buffers: Buffers, positions: Sequence[int], depth: int, question: ExitQuestion | None = None
    ) -> list[TopToken]:
        """See `Backend`."""
        own = self._own(buffers, positions[0], positions[-1] + 1)
        waiting, classifier = self._waiting, question.classifier if question is not None else None
        asked = classifier if isinstance(classifier, GpuExitProbability) else None
        fused = (
            waiting is not None and waiting.buffers is own and waiting.last == depth and len(positions) <= ROWS_AT_MOST
            and waiting.start <= positions[0] and positions[-1] < waiting.stop
        )  # fmt: skip
        if not fused:
            self._flush()
        self._waiting = None
        tops: list[TopToken] = []
        for at in range(0, len(positions), ROWS_AT_MOST):
            some = positions[at : at + ROWS_AT_MOST]
            span = waiting if fused else None
            pending = question.pending[at : at + ROWS_AT_MOST] if question is not None else ()
            self._run(span, own, some, depth, asked, question, pending)
            self._ring.wait()
            found = self._results.numpy()[: len(some)].tolist()
            # Behind the first batch, earlier rows may have paid for pending positions that this one does not know of: the host asks.
            known = asked is not None and at == 0
            tops += [TopToken(int(t), odds, margin, p if known else None) for t, odds, margin, p in found]
        return tops

    def top_token_among(self, buffers: Buffers, position: int, depth: int, tokens: np.ndarray) -> TopToken:
        """See `Backend`.

        Raises:
            ValueError: there is no such position or token.
        """
        if not 0 <= int(tokens.min()) <= int(tokens.max()) < self.config.vocabulary:
            raise ValueError(f"tokens must be of the {self.config.vocabulary} that the head has")
        normed = self._normed(self._lensed(self._states(buffers, position, position + 1), depth))
        rows = torch.from_numpy(tokens.astype(np.int64)).to(self.device)
        return top_token_of(tokens, self._array(self._logits(normed, rows))[0])

    def state(self, buffers: Buffers, position: int) -> np.ndarray:
        """See `Backend`."""
        self.machine.launch.copy(self._state, self._states(buffers, position, position + 1)[0])
        self._ring.wait()
        return np.array(self._state.numpy())

    def states(self, buffers: Buffers, start: int, stop: int) -> np.ndarray:
        """See `Backend`."""
        return self._array(self._states(buffers, start, stop))

    def lensed_states(self, buffers: Buffers, start: int, stop: int, depth: int) -> np.ndarray:
        """See `Backend`."""
        return self._array(self._lensed(self._states(buffers, start, stop), depth))

    def all_logits(self, buffers: Buffers, start: int, stop: int, depth: int) -> np.ndarray:
        """See `Backend`."""
        normed = self._normed(self._lensed(self._states(buffers, start, stop), depth))
        step = 1 << 14
        parts = (slice(at, at + step) for at in range(0, self.config.vocabulary, step))
        return np.concatenate([self._array(self._logits(normed, part)) for part in parts], -1)

    def exit_probability(self, parameters: ExitParameters) -> GpuExitProbability | None:
        """See `Backend`.

        Raises:
            ValueError: the parameters are not of this model.
        """
        hidden = len(parameters.inner)
        if hidden != power_of_two(hidden):
            return None
        return GpuExitProbability(
            parameters, self.config.width, self.device, lambda buffers, at: self._states(buffers, at, at + 1)
        )

    # --- inside -------------------------------------------------------------------------------------------

    def _run(
        self, span: _Span | None, own: GpuBuffers, positions: Sequence[int], depth: int, asked: GpuExitProbability | None,
        question: ExitQuestion | None, pending: Sequence[int],
    ) -> None:  # fmt: skip
        """A span, if there is one, and the head behind it, as one graph."""
        rows = _bucket(len(positions))
        classifier = asked.on_device if asked is not None else None
        head = self._head_scratch(classifier.inner.outputs if classifier is not None else 1)
        layers = None if span is None else (span.first, span.last, _bucket(span.rows), _splits(span.stop))
        scratch = None if layers is None else self._scratch(*layers[2:])

        def body(launch: Launcher) -> None:
            if layers is not None and scratch is not None:
                self.plan.layers(launch, layers[0], layers[1], scratch, layers[3])
            self.plan.head(launch, depth, rows, head, classifier)
            launch.copy(self._results[:rows], head.results[:rows])

        graph = self._graph((layers, depth if self._has_lens(depth) else 0, rows, id(classifier)), body, classifier)
        start, count = (0, 0) if span is None else (span.start, span.rows)
        index, bound = (0, 0.0) if question is None else (question.index, question.bound)
        self._ring.tell(own, start, count, positions, pending, index, bound)
        graph.replay()

    def _flush(self) -> None:
        """Run the span that waits."""
        if (span := self._waiting) is None:
            return
        self._waiting = None
        rows, splits = _bucket(span.rows), _splits(span.stop)
        scratch = self._scratch(rows, splits)
        graph = self._graph(
            (span.first, span.last, rows, splits),
            lambda launch: self.plan.layers(launch, span.first, span.last, scratch, splits),
        )
        self._ring.tell(span.buffers, span.start, span.rows)
        graph.replay()

    def _graph(self, key: Any, body: Callable[[Launcher], None], kept: object = None) -> Graph:
        """`kept`: must live as long as the graph."""
        if key not in self._graphs:
            self._ring.tell_nothing()  # what runs while a graph is recorded must not write
            self._graphs[key] = self.machine.record(body)
            self._keep.append(kept)
        return self._graphs[key]

    def _scratch(self, rows: int, splits: int) -> Scratch:
        """For so many rows; a prefill's is not kept for each number of them."""
        if (rows, splits) not in self._rows:
            made = Scratch(self.config, rows, self._like, splits)
            if rows > ROWS_AT_MOST:
                return made
            self._rows[rows, splits] = made
        return self._rows[rows, splits]

    def _head_scratch(self, hidden: int) -> HeadScratch:
        if hidden not in self._products:
            self._products[hidden] = HeadScratch(self.config, self.weights.extras.rank, hidden, self._like)
        return self._products[hidden]

    def _own(self, buffers: Buffers, start: int, stop: int) -> GpuBuffers:
        if not isinstance(buffers, GpuBuffers) or buffers.config != self.config:
            raise ValueError("buffers are of another model")
        if not 0 <= start <= stop <= buffers.capacity:
            raise ValueError(f"positions {start} … {stop - 1} of {buffers.capacity}")
        return buffers

    def _states(self, buffers: Buffers, start: int, stop: int) -> Tensor:
        own = self._own(buffers, start, stop)
        self._flush()
        return own.states[start:stop]

    def _has_lens(self, depth: int) -> bool:
        return lens_name(depth) in self.weights.matrices

    def _lensed(self, x: Tensor, depth: int) -> Tensor:
        if not self._has_lens(depth):
            return x
        unit = F.rms_norm(x, x.shape[-1:], eps=self.config.norm_eps)
        scaled = F.pad(unit * self.weights.vectors[lens_name(depth)], (0, padded(x.shape[1]) - x.shape[1]))
        return unit + scaled @ self.weights.matrices[lens_name(depth)].values(slice(None)).T

    def _normed(self, x: Tensor) -> Tensor:
        vectors, eps = self.weights.vectors, self.config.norm_eps
        if self.config.row.norm == "rms":
            return F.rms_norm(x, x.shape[-1:], vectors["norm.weight"], eps)
        return F.layer_norm(x, x.shape[-1:], vectors["norm.weight"], vectors["norm.bias"], eps)

    def _logits(self, normed: Tensor, rows: slice | Tensor) -> Tensor:
        table = self.weights.tables[head_weight(self.config)] if self.has_svd_head else None
        head = self.weights.matrices[HEAD].values(rows) if table is None else table[rows].float()
        logits = F.linear(F.pad(normed, (0, head.shape[1] - normed.shape[1])), head) * self.config.logit_scale
        return softcapped(logits, self.config.logit_softcap)

    def _array(self, x: Tensor) -> np.ndarray:
        found: np.ndarray = x.float().cpu().numpy()
        return found.copy() if x.device.type == "cpu" else found

    @property
    def _bits(self) -> str:
        return {4: "int4", 8: "int8", 16: "bfloat16", 32: "float32"}[self.weights.bits]


def _bucket(rows: int) -> int:
    return next(bucket for bucket in ROW_BUCKETS if bucket >= rows)


def _splits(positions: int) -> int:
    """Of a cache that holds so many positions: powers of two, so that few graphs are recorded."""
    return power_of_two(-(-positions // SPLIT))
