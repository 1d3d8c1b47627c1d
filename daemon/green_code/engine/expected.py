"""What a model of the catalog will need on this machine, before it is downloaded: from its shape, as `assumed_costs.py` prices work."""

from __future__ import annotations

from dataclasses import dataclass

from green_code.energy.meters import EstimateMeter
from green_code.engine.assumed_costs import costs_of
from green_code.kernels.packing import Extras, packed_sizes
from green_code.models.room import room_for
from green_code.models.rows import Shape
from green_code.models.svd_head import RANK
from green_code.work import Work


@dataclass(frozen=True)
class Expected:
    """Bytes of the converted weights and of the engine that holds them; milliseconds and joules of a token at full depth."""

    disk_bytes: int
    memory_bytes: int
    milliseconds: float
    joules: float
    source: str


def expected(shape: Shape, has_svd_head: bool) -> Expected:
    """The estimate for a shape, in the kernel's format."""
    config = shape.config()
    room = room_for(config, packed_sizes(config, Extras(rank=RANK if has_svd_head else 0)))
    costs, layers = costs_of(config, has_svd_head), shape.layers
    token = Work(
        layer_batches=layers, layer_positions=layers, small_batch_positions=layers, head_batches=1, head_positions=1
    )
    joules = costs.prices.of(token)
    seconds = joules / EstimateMeter().watts_per_core
    return Expected(room.disk_bytes, room.memory_bytes, 1000 * seconds, joules, costs.source)
