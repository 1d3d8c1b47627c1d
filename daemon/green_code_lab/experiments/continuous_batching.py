"""Continuous batching (Orca, OSDI 2022) under ragged exits, simulated over the exits of recorded completions.

A server has slots, each with one completion; where one ends, the next begins. A token of a slot runs the layers up to its exit, and at
each of them the positions that wait there (deferred fill, as in `decoding/kv_cache.py`). A step costs what its layers' weights and its
positions cost. Two schedules are compared:

- *together*: all slots decode a token at once. The weights of a layer are read where one slot is that deep.
- *grouped*: slots wait between exits, and the span of layers for which most wait runs next.

Prompts are no part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Schedule = Literal["together", "grouped"]
Trace = Sequence[int]
"""Of a completion: the depth at which each token was decoded, 1 to L."""


@dataclass(frozen=True)
class StepCosts:
    """Joules or seconds: of a layer's weights and of a position in it, of the head's weights and of a position in it."""

    layer: float
    position: float
    head: float = 0.0
    head_position: float = 0.0


@dataclass
class Served:
    """What was served. `reads`: layers whose weights were read, over all steps."""

    tokens: int = 0
    steps: int = 0
    reads: int = 0
    positions: int = 0
    heads: int = 0
    head_positions: int = 0

    def cost(self, costs: StepCosts) -> float:
        layers = costs.layer * self.reads + costs.position * self.positions
        return layers + costs.head * self.heads + costs.head_position * self.head_positions


@dataclass
class _Slot:
    """A completion that is served. `waiting`: of earlier tokens, by layer from 1, how many have not run there; `span`: runs next."""

    trace: Trace
    waiting: list[int]
    token: int = 0
    span: int = 0

    @property
    def depth(self) -> int:
        return self.trace[self.token]

    def run(self, layers: range) -> int:
        """Positions that run in these layers with the current token."""
        count = sum(1 + self.waiting[layer] for layer in layers)
        for layer in layers:
            self.waiting[layer] = 0
        return count

    def decoded(self) -> bool:
        """The current token is decoded; whether it was the last."""
        for layer in range(self.depth + 1, len(self.waiting)):
            self.waiting[layer] += 1
        self.token, self.span = self.token + 1, 0
        return self.token == len(self.trace)


@dataclass
class _Server:
    layers: int
    slots: int
    queue: list[Trace]
    busy: list[_Slot] = field(default_factory=list)

    def admit(self) -> bool:
        """Fill free slots; whether there is anything to do."""
        while self.queue and len(self.busy) < self.slots:
            self.busy.append(_Slot(self.queue.pop(), [0] * (self.layers + 1)))
        return bool(self.busy)


def simulate(traces: Sequence[Trace], layers: int, exits: Sequence[int], slots: int, schedule: Schedule) -> Served:
    """Serve all completions in their order.

    Args:
        traces: none empty; depths are of `exits` or `layers`. exits: ascending; at each that a token reaches, the head is read.
    """
    depths = [*exits, layers]
    spans = [range(first + 1, last + 1) for first, last in zip([0, *exits], depths, strict=True)]
    server, served = _Server(layers, slots, list(reversed(traces))), Served()
    while server.admit():
        chosen = range(len(spans))
        if schedule == "grouped":
            waiting = [sum(slot.span == span for slot in server.busy) for span in chosen]
            most = max((count, span) for span, count in enumerate(waiting))[1]
            chosen = range(most, most + 1)
        served.steps += 1
        for span in chosen:
            running = [slot for slot in server.busy if slot.span == span]
            if not running:
                continue
            served.reads += len(spans[span])
            served.positions += sum(slot.run(spans[span]) for slot in running)
            served.heads += 1
            served.head_positions += len(running)
            for slot in running:
                slot.span += 1
                if slot.depth == depths[span]:
                    served.tokens += 1
                    if slot.decoded():
                        server.busy.remove(slot)
    return served
