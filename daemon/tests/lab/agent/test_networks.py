"""The agents' networks in NumPy, as decoding runs them, against those that are trained."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from green_code.decoding.exit_classifier import EXIT, load_exit_classifier, unit_rms
from green_code.decoding.stop_network import token_features
from green_code.models.backend import TopToken
from green_code_lab.agent.networks import ExitModule, StopModule, features
from tests.decoding.test_stop_network import VIEWS


def test_the_exit_probability_of_a_state_is_that_of_training(tmp_path_factory: pytest.TempPathFactory) -> None:
    torch.manual_seed(0)
    trained = ExitModule(48, (2, 4, 6)).half().float().requires_grad_(False)
    path = tmp_path_factory.mktemp("bundle") / "agent.safetensors"
    trained.frozen().save(path)
    classifier = load_exit_classifier(path, (2, 4, 6))
    assert classifier.width == 48
    for pending, top in (
        (0, TopToken(3, 0.0, 1.0)),
        (1, TopToken(3, -20.0, 0.0)),
        (17, TopToken(3, 20.0, 8.0)),
        (40_000, TopToken(3, 2.5, 3.0)),
    ):
        for index in range(3):
            state = torch.randn(48) * 30
            inputs = features(state, *map(torch.tensor, (pending, top.log_odds, top.margin)))
            expected = trained(inputs, torch.tensor(index)).softmax(-1)[EXIT]
            got = classifier.exit_probability(state.numpy(), pending, top, index)
            assert got == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e4], ids=["usual", "extreme"])
@pytest.mark.parametrize("view", VIEWS)
def test_the_stop_agent_in_numpy_is_torchs(scale: float, view: tuple[float, float, int, int, str]) -> None:
    torch.manual_seed(0)
    trained = StopModule().requires_grad_(False)
    for weight in trained.parameters():
        weight.mul_(scale)
    expected = trained(torch.tensor([token_features(*view)]))[0].double().sigmoid()
    assert trained.frozen().right(*view) == pytest.approx(float(expected), rel=1e-3, abs=1e-300)


def test_states_over_their_root_mean_square_have_unit_size() -> None:
    state = np.random.default_rng(2).normal(0, 30, (3, 24)).astype(np.float16)
    unit = unit_rms(state)
    assert unit.dtype == np.float32 and np.square(unit).mean(-1) == pytest.approx(1, rel=1e-3)
    assert math.isclose(float(np.abs(unit_rms(unit) - unit).max()), 0, abs_tol=1e-5)
