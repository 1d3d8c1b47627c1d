"""The thresholds at which `fast` is measured, each once."""

from __future__ import annotations

from green_code_lab.evaluation.thresholds import early_thresholds


def test_early_thresholds_have_all_their_names() -> None:
    presets = {name: {"threshold": at} for name, at in (("quality", 1.0), ("balanced", 0.7), ("saver", 0.5))}
    assert early_thresholds({"presets": presets}, 0.7) == {"T=0.7, balanced": 0.7, "T=0.5, saver": 0.5}
    assert early_thresholds({}, 0.7) == {"T=0.7": 0.7}
