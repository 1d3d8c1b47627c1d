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


def gpu_uuid(device: torch.device) -> str | None:
    """UUID of a CUDA device, as in NVML; None for a CPU."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else None


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
