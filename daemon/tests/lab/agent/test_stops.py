"""The stop agent and the gate by supervision: on synthetic records they find what is right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from green_code.lsp.gate import read_weights
from green_code.settings import STOPS
from green_code_lab.agent import stops
from green_code_lab.replay.environment import Replayer
from green_code_lab.replay.policies import counted, running_product, shown_by
from tests.lab.replay.by_hand import synthetic

ARGUMENTS = stops.Arguments(epochs=30, batch=64)


@pytest.fixture(scope="module")
def known() -> Replayer:
    return synthetic(40, good=0.5)


@pytest.fixture(scope="module")
def unseen() -> Replayer:
    return synthetic(15, good=0.5, seed=9)


def test_a_fitted_agent_ranks_right_above_wrong(known: Replayer, unseen: Replayer) -> None:
    network = stops.train(known, ARGUMENTS)
    which, right = counted(unseen.records), unseen.token_right
    estimates = network(torch.from_numpy(stops.token_inputs(unseen)))[:, 0].numpy()
    assert stops.area_under_curve(right[which], estimates[which]) > 0.8
    again = stops.train(known, ARGUMENTS)
    for one, other in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other) and not one.requires_grad


def test_a_regression_finds_the_share_and_a_penalty_shrinks_its_weights() -> None:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(4000, 3)).astype(np.float32)
    shares = 1 / (1 + np.exp(-(inputs @ [1.0, -0.5, 0.0] - 1)))
    weights, bias = stops.regress(inputs, shares, np.array([1e-6, 1e-6, 1e6]))
    assert [*weights, bias] == pytest.approx([1.0, -0.5, 0.0, -1.0], abs=0.02)


def test_visits_are_the_requests_that_typing_makes(known: Replayer) -> None:
    shown = shown_by(known, running_product(known.records), 0.4)
    found = stops.visits(known, shown, (0, 1))
    rows = set(found.rows.tolist())
    assert rows <= set(range(len(known.records))) and len(rows) < len(known.records), "typing along asks nobody"
    again = stops.visits(known, shown, (0, 1))
    assert np.array_equal(found.rows, again.rows) and np.array_equal(found.places, again.places)


def test_the_gate_is_one_that_the_front_reads(known: Replayer, tmp_path: Path) -> None:
    """And it has learned from a place that tells all."""
    shown = shown_by(known, running_product(known.records), 0.4)
    found = stops.visits(known, shown, (0,))
    places = np.zeros_like(found.places)
    places[:, 3] = shown.right[found.rows]
    content = stops.train_gate(stops.Visits(found.rows, places, found.runs), shown.right, penalty=1e-3)
    assert content["weights"][3] > 1 and content["bias"] < 0
    path = tmp_path / "gate.json"
    path.write_text(json.dumps({**content, "bounds": dict.fromkeys(STOPS, 0.08)}))
    read = read_weights(path)
    assert read.weights == pytest.approx((*content["weights"], content["bias"]))


def test_the_area_under_the_curve_by_hand() -> None:
    right = np.array([True, False, True, False])
    assert stops.area_under_curve(right, np.array([0.9, 0.1, 0.8, 0.2])) == 1
    assert stops.area_under_curve(right, np.array([0.1, 0.9, 0.2, 0.8])) == 0
    assert stops.area_under_curve(right, np.array([0.5, 0.5, 0.5, 0.5])) == 0.5
    assert stops.area_under_curve(right, np.array([0.9, 0.8, 0.3, 0.3])) == (2 + 0.5) / 4
