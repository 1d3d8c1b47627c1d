"""Where a model computes: the device that is asked for, or by `auto` the one that does it best here.

`auto` prefers what was measured: of the devices on which this model was measured, the one with the fewest joules a token, if a token
takes at most `SLOW_SECONDS` there; else the quickest. What was not measured is assumed, for the processor alone. A GPU is tried
without a measurement only where a token of the processor is assumed to take longer than `SLOW_SECONDS`: a model that is quick there
would take many times the watts on a GPU.
Must not know: sessions, the link.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from green_code.energy.meters import EstimateMeter
from green_code.engine.assumed_costs import costs_of, token_work
from green_code.engine.interfaces import DeviceProblem
from green_code.files import replace_file
from green_code.folders import cache_dir
from green_code.kernels.weight_bits import bits_for
from green_code.models.config import ModelConfig
from green_code.reading import Amount, read_json

SLOW_SECONDS: Final = 0.1
"""Of a token: a short completion then takes a second, and few would wait for it."""
GPUS: Final = ("cuda", "mps")

Measured = Mapping[str, tuple[float, float]]
"""Joules and seconds of a token at full depth, by device."""


def choose_device(wanted: str, measured: Measured, config: Callable[[], ModelConfig]) -> str:
    """ "cpu", "cuda" or "mps" for a setting of `greenCode.device`.

    Args:
        config: the model's, read only where nothing else decides.
    """
    if wanted != "auto":
        return wanted
    if importlib.util.find_spec("torch") is None:
        return "cpu"
    if not any(device in measured for device in GPUS):
        if assumed_seconds(config()) <= SLOW_SECONDS:
            return "cpu"
        return available_gpu() or "cpu"
    known = dict(measured)
    if "cpu" not in known:
        seconds = assumed_seconds(config())
        known["cpu"] = seconds * EstimateMeter().watts_per_core, seconds
    quick = {device: joules for device, (joules, seconds) in known.items() if seconds <= SLOW_SECONDS}
    cost = quick or {device: seconds for device, (_, seconds) in known.items()}
    return min(cost, key=lambda device: cost[device])


def assumed_seconds(config: ModelConfig) -> float:
    """Of a token at full depth on the processor."""
    costs = costs_of(config, has_svd_head=False, bits=bits_for(config))
    return costs.prices.of(token_work(config.layers)) / EstimateMeter().watts_per_core


def available_gpu() -> str | None:
    """The GPU that torch can use here; imports torch."""
    from green_code.models.device import is_available

    return next((device for device in GPUS if is_available(device)), None)


def check_device(device: str) -> None:
    """Raises ImportError or RuntimeError where torch cannot compute on it."""
    if importlib.util.find_spec("torch") is None:
        raise ImportError("torch is not installed: pip install 'green-code[gpu]'")
    from green_code.models.device import why_unavailable

    if (why := why_unavailable(device)) is not None:
        raise RuntimeError(why)


def pick_card(device: str) -> tuple[int, int | None]:
    """The number of the card that serves, and the bytes of its memory that may be taken; None: unknown. Imports torch."""
    from green_code.gpu.support import best_card, free_bytes

    card = best_card(device)
    return card, free_bytes(card) if device == "cuda" else None


def device_problem(device: str, error: BaseException) -> DeviceProblem:
    """What users are told where a device failed, and whether this process can try it again."""
    if "torch" not in sys.modules:  # it is missing, or cannot be imported
        return DeviceProblem(device, f"{type(error).__name__}: {error}")
    from green_code.models.device import first_sentence, is_lost

    return DeviceProblem(device, f"{type(error).__name__}: {first_sentence(error)}", is_lost(device))


def read_measured(key: str) -> Measured:
    """What was measured of the model of this key (`catalog.Found`)."""
    try:
        return read_json(_path(key), dict[str, tuple[Amount, Amount]])
    except (OSError, ValueError):
        return {}


def keep_measured(key: str, device: str, joules: float, seconds: float) -> None:
    """Keep the joules and seconds of a token for later starts."""
    path = _path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps({**read_measured(key), device: (joules, seconds)}))


def _path(key: str) -> Path:
    return cache_dir() / f"devices-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
