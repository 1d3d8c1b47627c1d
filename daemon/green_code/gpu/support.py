"""Which devices the GPU's kernels serve, and how much of their memory may be taken. The others are served by torch."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Final

import torch

from green_code.gpu.reserve import reserve_bytes
from green_code.models.device import gpu_uuid

log = logging.getLogger(__name__)

LEAST_CAPABILITY: Final = (8, 0)
"""NVIDIA's Ampere, the first that multiplies bfloat16 in hardware."""


def why_torch(device: str, card: int = 0) -> str | None:
    """Why the kernels do not serve on a device, as the beginning of a sentence; None: they do."""
    if device != "cuda":
        return f"the kernels are for NVIDIA's GPUs, not for {device}"
    if torch.version.hip is not None:
        return "the kernels are for NVIDIA's GPUs, and this one is AMD's (ROCm)"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if (found := torch.cuda.get_device_capability(card)) < LEAST_CAPABILITY:
        return f"the card has compute capability {found[0]}.{found[1]}, and the kernels need {LEAST_CAPABILITY[0]}.{LEAST_CAPABILITY[1]}"
    return None


def free_bytes(card: int) -> int:
    """Memory of a card that Green Code may still take: what is free, and what torch holds and does not use, less the reserve."""
    free, _ = torch.cuda.mem_get_info(card)
    held = torch.cuda.memory_reserved(card) - torch.cuda.memory_allocated(card)
    return free + held - reserve_bytes()


def check_room(card: int, size: int) -> None:
    """
    Raises:
        MemoryError: the card has no room for so many bytes.
    """
    if size > (free := free_bytes(card)):
        raise MemoryError(f"it needs {size / 1e9:.1f} GB, and {max(0, free) / 1e9:.1f} GB of the card may be used")


def best_card(device: str) -> int:
    """The number of the card that serves best where there are several: one that the kernels serve, of these the one with most free memory."""
    if device != "cuda" or (count := torch.cuda.device_count()) < 2:
        return 0
    return max(range(count), key=lambda card: (why_torch(device, card) is None, _free_by_nvml(card)))


def _free_by_nvml(card: int) -> int:
    """Free memory of a card that may not be used: CUDA itself would take some of it to tell. Without NVML, all of its memory."""
    try:
        library = importlib.import_module("pynvml")
        library.nvmlInit()
        handle = library.nvmlDeviceGetHandleByUUID(gpu_uuid(torch.device("cuda", card)))
        return int(library.nvmlDeviceGetMemoryInfo(handle).free)
    except Exception as error:
        log.info("NVML does not tell the free memory of card %d (%s)", card, error)
        return int(torch.cuda.get_device_properties(card).total_memory)
