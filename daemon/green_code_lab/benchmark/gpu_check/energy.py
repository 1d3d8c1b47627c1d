"""What does a token cost, by NVML: at full depth, exact and fast, and what the card draws while the model waits?"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from green_code.decoding.bundle_contents import BundleContents
from green_code.energy.meters import SHORT_WINDOW_SECONDS, Window, pick_meter
from green_code.engine.assumed_costs import assumed_costs
from green_code.engine.loading import Runtime, load_runtime
from green_code.engine.requests import completion_params
from green_code.gpu.decoder import GpuDecoder
from green_code.gpu.packing import pack
from green_code.gpu.weights import Weights
from green_code.link.messages import Decoding
from green_code.models.adapters import Adapters
from green_code.models.catalog import TINY
from green_code.models.rows import LIGHT
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
from green_code.models.weights import Model
from green_code.problems import Problem
from green_code_lab.benchmark.gpu_check.where import Where

MODEL_VARIABLE = "GREEN_CODE_CHECK_MODEL"
_DECODINGS: tuple[Decoding, ...] = ("full", "exact", "fast")
_PREFIXES = (
    "def add(first, second):\n    return ", "for name, value in sorted(values.items()):\n    print(", "class Stack:\n    def push(self, item):\n",
)  # fmt: skip


def run(where: Where) -> list[dict[str, Any]]:
    """A row for each decoding, and one for a model that waits.

    Raises:
        Problem: the model cannot be used, or the card has no counter.
    """
    runtime = _runtime(where)
    decoder = runtime.decoder
    meter = pick_meter(decoder.gpu)
    seconds = SHORT_WINDOW_SECONDS if where.is_card else 0.0

    def measured(name: str, work: Callable[[], int]) -> dict[str, Any]:
        """`work` gives the number of tokens; it is done once before."""
        work()
        with Window(meter, decoder.synchronise) as window:
            tokens, end = 0, time.monotonic() + seconds
            while (tokens == 0 and name != "idle") or time.monotonic() < end:
                tokens += work()
        reading = window.reading
        if reading is None or (reading.joules is None and where.is_card):
            raise Problem("internal_error", f"{meter.describe()} gives no readings: joules stay unknown.")
        row = {
            "model": runtime.model,
            "what": name,
            "tokens": tokens,
            "watts": (reading.joules or 0.0) / max(reading.seconds, 1e-9),
        }
        row |= {"joules a token": (reading.joules or 0.0) / tokens if tokens else math.nan, "meter": meter.describe()}
        print(row, flush=True)
        return row

    def complete(decoding: Decoding) -> int:
        session, tokens = runtime.new_session(), 0
        for prefix in _PREFIXES if where.is_card else _PREFIXES[:1]:
            asked = completion_params(
                prefix if where.is_card else "re", model=runtime.model, decoding=decoding, threshold=0.5, single_line=False,
                max_tokens=32 if where.is_card else 1, stop=0.0, policy="agent" if runtime.agent else "fixed:2",
            )  # fmt: skip
            tokens += session.complete(asked, lambda: None, math.inf)["tokens"]
        return max(1, tokens)

    def wait() -> int:
        time.sleep(0.1 if where.is_card else 0.0)
        return 0

    return [measured("idle", wait), *(measured(name, lambda name=name: complete(name)) for name in _DECODINGS)]  # type: ignore[misc]


def _runtime(where: Where) -> Runtime:
    if where.is_card:
        return load_runtime(os.environ.get(MODEL_VARIABLE, LIGHT), device="cuda")
    source = TinySource()
    data, extras = pack(source.config, source.tensors(None), Adapters(), 8)
    weights = Weights.of(source.config, extras, 8, np.asarray(data), "cpu")
    decoder = GpuDecoder(weights, where.machine(), torch.float32, block=64)
    model = Model(decoder, Vocabulary(*source.vocabulary(None)), TINY)
    return Runtime(TINY, model, BundleContents(), assumed_costs(decoder))
