"""The device on which torch computes, and the precision that it multiplies in hardware."""

from __future__ import annotations

import torch


def compute_device() -> torch.device:
    """The fastest one that there is, for training."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def is_available(device: str) -> bool:
    """Whether torch can compute on "cpu", "cuda" or "mps" here."""
    if device == "cuda":
        return torch.cuda.is_available()
    return device == "cpu" or (device == "mps" and torch.backends.mps.is_available())


def why_unavailable(device: str) -> str | None:
    """Why torch cannot compute on "cuda" or "mps" here, as a part of a sentence; None: it can."""
    if is_available(device):
        return None
    if device != "cuda":
        return "torch finds no such device here"
    if torch.version.cuda is None and torch.version.hip is None:
        return "the installed torch is a build for processors alone: install one for this card from pytorch.org"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:  # no driver, or one that is too old for this torch
        return first_sentence(error)
    return "the driver shows no card"


def is_lost(device: str) -> bool:
    """Whether torch can compute on a device no longer, whatever is tried in this process: after an error within a kernel, or where the
    card was removed. Memory that is full is no such error."""
    if not device.startswith("cuda") or not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.cuda.synchronize()
        torch.zeros(1, device=device).item()
    except torch.OutOfMemoryError:
        return False
    except RuntimeError:
        return True
    return False


def first_sentence(error: BaseException) -> str:
    """Of what torch says, which may be a page."""
    line = next(iter(str(error).splitlines()), "").strip()
    return line.partition(". ")[0].rstrip(".")[:200]


def gpu_uuid(device: torch.device) -> str | None:
    """UUID of a CUDA device, as in NVML; the kind of another GPU, which NVML does not know; None for a CPU."""
    if device.type == "cuda" and torch.version.hip is None:
        return f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    return None if device.type == "cpu" else str(device)


def bfloat16_pays(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 in hardware.

    oneDNN reports support for bfloat16 on every AVX-512 processor. Without instructions for it, oneDNN converts the numbers to
    float32 first, and products take four times as long as in float32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    widened = torch.cpu._is_avx512_supported() and not (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return not widened


def compute_dtype(device: str) -> torch.dtype:
    """The torch decoder's: bfloat16 where it pays, float32 elsewhere."""
    return torch.bfloat16 if bfloat16_pays(torch.device(device)) else torch.float32
