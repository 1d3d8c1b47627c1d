"""Under what figures were measured: date, command, machine, software. Files are named without their folders."""

from __future__ import annotations

import datetime
import platform
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from green_code import __version__
from green_code.engine.measured_costs import hardware
from green_code.engine.runtime import Runtime
from green_code.kernels.thread_pool import usable_cores


def provenance(runtime: Runtime, experiment: str, options: dict[str, object]) -> dict[str, Any]:
    """What every data file begins with. `options` are the command's, by name; empty ones are left out."""
    device = runtime.decoder.device
    return {
        "experiment": experiment,
        "date": datetime.date.today().isoformat(),
        "command": _command(experiment, options),
        "model": Path(runtime.model).name,
        "weights": runtime.weights,
        "machine": {
            "processor": hardware(device)[1],
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
            "cores": usable_cores(),
            "threads": torch.get_num_threads(),
            "compute": runtime.decoder.description,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "system": platform.system(),
            "green_code": __version__,
        },
    }


def _command(experiment: str, options: dict[str, object]) -> str:
    words = ["python", "-m", "green_code_lab.experiments", experiment]
    for name, value in options.items():
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if values:
            words += [f"--{name}", *(v.name if isinstance(v, Path) else str(v) for v in values)]
    return shlex.join(words)
