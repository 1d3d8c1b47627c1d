"""How fast the kernel is on this machine: measured in about a second, before any model is downloaded.

The kernel runs a few layers of the standard model's shape, with weights that mean nothing and the threads of service. What that takes is
given over what `assumed_costs` says for the same work on its reference machine, and so it scales the estimate for any shape: a token waits
for memory, a prompt for arithmetic.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np

from green_code.energy.meters import EstimateMeter
from green_code.engine.assumed_costs import costs_of
from green_code.engine.measured_costs import processor_name
from green_code.folders import cache_dir
from green_code.kernels.binding import Kernel, open_kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.packing import meaningless
from green_code.kernels.thread_pool import most_workers
from green_code.models.backend import SMALL_BATCH
from green_code.models.rows import ROWS, STANDARD
from green_code.reading import Amount, read_json
from green_code.work import Work

PROMPT: Final = 256
"""Positions of the prompt that is measured, which is also the one that is expected."""
_LAYERS = 8  # 120 MB, more than the caches of most processors
_PROMPT_LAYERS = 2
_SHAPE = replace(ROWS[STANDARD].shape, layers=_LAYERS, vocabulary=64)
_LEAST, _SECONDS = 5, 0.4  # runs of each at least, and for how long at least
_OWN_SHARE = 0.8
_VERSION = 1  # raised when what is measured changes


@dataclass(frozen=True)
class MachineSpeed:
    """Seconds and CPU-seconds of a token and of a prompt, over those that are assumed, which are one thread's."""

    token: Amount
    token_cpu: Amount
    prompt: Amount
    prompt_cpu: Amount

    @property
    def undisturbed(self) -> bool:
        """Whether the kernel had its cores while it was measured: other programs make time pass without processor time."""
        return self.token_cpu >= _OWN_SHARE * self.token and self.prompt_cpu >= _OWN_SHARE * self.prompt


@functools.cache
def machine_speed() -> MachineSpeed | None:
    """What was measured on this machine, now or, undisturbed, earlier; None where the kernel does not run."""
    if (kernel := open_kernel()) is None:
        return None
    parts = (_VERSION, kernel.digest, processor_name(), most_workers())
    path = cache_dir() / f"speed-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.json"
    with contextlib.suppress(OSError, ValueError):
        return read_json(path, MachineSpeed)
    speed = measure(kernel)
    if speed.undisturbed:
        with contextlib.suppress(OSError):  # measured again the next time
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(speed)), "utf-8")
    return speed


def measure(kernel: Kernel) -> MachineSpeed:
    """Run layers over one position behind others, then over a whole prompt."""
    config = _SHAPE.config()
    decoder = KernelDecoder(kernel, config, *meaningless(config))
    buffers = decoder.new_buffers(PROMPT + 1)
    states = decoder.states(buffers, 0, PROMPT + 1)
    states[:] = np.random.default_rng(0).normal(0, 1, states.shape)
    token = _fastest(lambda: decoder.run_layers(1, _LAYERS, buffers, PROMPT, PROMPT + 1))
    prompt = _fastest(lambda: decoder.run_layers(1, _PROMPT_LAYERS, buffers, 0, PROMPT))
    decoder.close()
    prices, watts = costs_of(config, has_svd_head=False).prices, EstimateMeter().watts_per_core
    token_work, prompt_work = (
        Work(layer_batches=layers, layer_positions=layers * positions, small_batch_positions=layers * min(positions, SMALL_BATCH))
        for layers, positions in ((_LAYERS, 1), (_PROMPT_LAYERS, PROMPT))
    )  # fmt: skip
    assumed = [prices.of(work) / watts for work in (token_work, token_work, prompt_work, prompt_work)]
    return MachineSpeed(*(taken / expected for taken, expected in zip((*token, *prompt), assumed, strict=True)))


def _fastest(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds and CPU-seconds of the fastest of some runs, which other programs disturbed least. The first one starts threads."""
    work()
    taken, end = list[tuple[float, float]](), time.perf_counter() + _SECONDS
    while len(taken) < _LEAST or time.perf_counter() < end:
        begin, cpu = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - begin, time.process_time() - cpu))
    return min(taken)
