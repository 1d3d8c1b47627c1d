"""The thresholds at which `fast` is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def early_thresholds(calibration: Mapping[str, Any], usual: float) -> dict[str, float]:
    """The usual threshold and those of a calibration's presets, by their names, such as "T=0.7, balanced".

    Each threshold occurs once. Threshold 1 is left out: there every token is of full depth.
    """
    names = {usual: [f"T={usual}"]}
    for name, stop in calibration.get("presets", {}).items():
        if (threshold := stop["threshold"]) < 1:
            names.setdefault(threshold, [f"T={threshold}"]).append(name)
    return {", ".join(called): threshold for threshold, called in names.items()}
