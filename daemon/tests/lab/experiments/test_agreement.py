"""Depths of bundles with published and with fine-tuned layers, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from green_code.problems import Problem
from green_code_lab.experiments.agreement import FINE_TUNED, LENS, PUBLISHED, points


def scores(*agreement: float) -> dict[str, Any]:
    return {"agreement": {"2": agreement[0], "4": 1.0}, "accuracy": {"2": 0.1, "4": 0.5}}


def manifest(**parts: Any) -> dict[str, Any]:
    return {"base": {"model": "some"}, "exits": [2], "training": {}, **parts}


def test_published_layers_are_read_plainly_and_through_lenses() -> None:
    held_out = {"plain": {"go": scores(0.1), "php": scores(0.3)}, "lens": {"go": scores(0.6), "php": scores(0.8)}}
    found = list(points(manifest(lenses={"held_out": held_out})))
    assert [(each["reading"], each["depth"], each["exit"]) for each in found] == [
        (PUBLISHED, 2, "yes"), (PUBLISHED, 4, ""), (LENS, 2, "yes"), (LENS, 4, ""),
    ]  # fmt: skip
    assert found[0]["agreement"] == pytest.approx([0.2, 0.1, 0.3]) and found[0]["share"] == 0.5
    assert found[2]["agreement"] == pytest.approx([0.7, 0.6, 0.8])


def test_fine_tuned_layers_are_read_without_lenses() -> None:
    held_out = {"untouched": {"go": scores(0.1)}, "shipped": {"go": scores(0.9)}}
    found = list(points(manifest(training={"held_out": held_out}, lenses={"held_out": {}})))
    assert [(each["reading"], each["agreement"][0]) for each in found] == [(FINE_TUNED, 0.9), (FINE_TUNED, 1.0)]


def test_a_bundle_without_scores_is_told() -> None:
    with pytest.raises(Problem, match="green-code adapt"):
        list(points(manifest()))
