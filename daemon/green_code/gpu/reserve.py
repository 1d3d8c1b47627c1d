"""How much of a card's memory is left to other programs (greenCode.gpuReserve).

Must not know: torch.
"""

from __future__ import annotations

from green_code.settings import default_settings

_gigabytes = default_settings().gpu_reserve


def leave_free(gigabytes: float) -> None:
    """For this process, from now on."""
    global _gigabytes
    _gigabytes = gigabytes


def reserve_bytes() -> int:
    """What must stay free on a card."""
    return int(_gigabytes * 1e9)
