"""What a model of the catalog will need on this machine, before it is downloaded: an estimate from its shape."""

from __future__ import annotations

from dataclasses import dataclass

from green_code.energy.costs import load_costs, newest_costs
from green_code.energy.meters import EstimateMeter
from green_code.engine.assumed_costs import costs_of, token_work
from green_code.folders import cache_dir
from green_code.kernels.packing import Extras, packed_sizes
from green_code.kernels.weight_bits import bits_for
from green_code.models.room import room_for
from green_code.models.rows import Shape
from green_code.models.svd_head import RANK


@dataclass(frozen=True)
class Expected:
    """Bytes of the converted weights and of the engine that holds them; milliseconds and joules of a token at full depth."""

    disk_bytes: int
    memory_bytes: int
    milliseconds: float
    joules: float
    source: str


def expected(shape: Shape, has_svd_head: bool) -> Expected:
    """The estimate for a shape, in the kernel's format. It is scaled by what any model's token cost here, where that was measured."""
    config = shape.config()
    bits = bits_for(config)
    room = room_for(config, packed_sizes(config, Extras(rank=RANK if has_svd_head else 0), bits))
    costs = costs_of(config, has_svd_head, bits)
    joules = costs.prices.of(token_work(shape.layers))
    seconds = joules / EstimateMeter().watts_per_core
    source, ratio = _measured()
    if source == costs.source:  # CPU-seconds were measured
        seconds *= ratio
    return Expected(room.disk_bytes, room.memory_bytes, 1000 * seconds, joules * ratio, costs.source)


def _measured() -> tuple[str, float]:
    """The meter's source, and how much more than assumed a token cost here; the last measurement's."""
    for path in newest_costs(cache_dir()):
        costs = load_costs(path)
        if costs is not None and costs.over_assumed is not None:
            return costs.source, costs.over_assumed
    return "", 1.0
