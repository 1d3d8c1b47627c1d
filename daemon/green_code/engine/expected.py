"""What a model of the catalog will need on this machine, before it is downloaded, and which one is recommended.

Bytes follow from its shape; times and joules too, scaled by what was measured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from green_code.energy.costs import load_costs, newest_costs
from green_code.energy.meters import EstimateMeter
from green_code.engine.assumed_costs import costs_of, token_work
from green_code.engine.machine_speed import PROMPT, MachineSpeed
from green_code.folders import cache_dir
from green_code.kernels.packing import Extras, packed_sizes
from green_code.kernels.weight_bits import bits_for
from green_code.models.backend import SMALL_BATCH
from green_code.models.room import room_for
from green_code.models.rows import LIGHT, STANDARD, Shape
from green_code.models.svd_head import RANK
from green_code.work import full_depth_work

LINE_TOKENS: Final = 12
"""Of a line of code, about."""
COLD_SECONDS: Final = 1.0
"""Within so much, the first suggestion in a file must be expected. It is the slowest of all: later ones find the prompt in the cache. A
second is how long people wait without losing their thought (Nielsen, Usability Engineering, 1993, chapter 5)."""
MEMORY_SHARE: Final = 0.25
"""Of this machine's memory, which an engine may take beside an editor and its language servers."""


@dataclass(frozen=True)
class Expected:
    """Bytes of the converted weights and of the engine that holds them; time and joules at full depth, of a token, and of a prompt of
    `machine_speed.PROMPT` tokens that is not in the cache, up to its first token. `measured`: whether times come from this machine."""

    disk_bytes: int
    memory_bytes: int
    token_seconds: float
    prompt_seconds: float
    token_joules: float
    prompt_joules: float
    source: str
    measured: bool

    @property
    def cold_seconds(self) -> float:
        """Until the first suggestion in a file, of a line."""
        return self.prompt_seconds + (LINE_TOKENS - 1) * self.token_seconds


def expected(shape: Shape, has_svd_head: bool, speed: MachineSpeed | None) -> Expected:
    """The estimate for a shape, in the kernel's format.

    Args:
        speed: of this machine; without one, times are those of the reference machine, and several times as long without the kernel.
    """
    config = shape.config()
    bits = bits_for(config)
    room = room_for(config, packed_sizes(config, Extras(rank=RANK if has_svd_head else 0), bits))
    costs, watts = costs_of(config, has_svd_head, bits), EstimateMeter().watts_per_core
    token = costs.prices.of(token_work(shape.layers))
    prompt = costs.prices.of(full_depth_work(shape.layers, PROMPT, 1, SMALL_BATCH))
    ratios = speed or MachineSpeed(1.0, 1.0, 1.0, 1.0)
    over_assumed = _over_assumed()
    return Expected(
        room.disk_bytes,
        room.memory_bytes,
        token / watts * ratios.token,
        prompt / watts * ratios.prompt,
        token * (over_assumed or ratios.token_cpu),
        prompt * (over_assumed or ratios.prompt_cpu),
        costs.source,
        speed is not None,
    )


def recommended(standard: Expected, fits: bool, memory: int) -> str:
    """The model that Set Up preselects: the standard one where it is fast enough and there is room, else the light one.

    Args:
        standard: what the standard model needs. fits: on the disk as well. memory: bytes of this machine.
    """
    is_fast = standard.measured and standard.cold_seconds <= COLD_SECONDS
    return STANDARD if is_fast and fits and standard.memory_bytes <= MEMORY_SHARE * memory else LIGHT


def _over_assumed() -> float | None:
    """How much more than assumed a token's joules were here, of the last model that was measured."""
    found = (costs.over_assumed for path in newest_costs(cache_dir()) if (costs := load_costs(path)) is not None)
    return next(filter(None, found), None)
