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

WIDTH, DEPTH, PLACE = 24, 3, 5


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


def stop_module(scale: float) -> StopModule:
    torch.manual_seed(0)
    found = StopModule(WIDTH, DEPTH, PLACE).requires_grad_(False)
    for weight in found.parameters():
        weight.mul_(scale)
    return found


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4], ids=["usual", "sure", "extreme"])
@pytest.mark.parametrize("size", [0.0, 1e-3, 1.0, 1e4])
def test_refusal_in_numpy_is_torchs(scale: float, size: float) -> None:
    trained, draw = stop_module(scale), np.random.default_rng(1)
    own = trained.frozen()
    for _ in range(20):
        state, place = (size * draw.normal(size=WIDTH)).astype(np.float32), draw.normal(size=PLACE).tolist()
        inputs = torch.cat([torch.from_numpy(unit_rms(state)), torch.tensor(place)])
        expected = trained.refusal(inputs).double().sigmoid()
        assert own.promise(state, place) == pytest.approx(float(expected), rel=1e-3, abs=1e-300)


@pytest.mark.parametrize("scale", [1.0, 1e4], ids=["usual", "extreme"])
@pytest.mark.parametrize("view", VIEWS)
def test_the_token_part_in_numpy_is_torchs(scale: float, view: tuple[float, float, int, int, str]) -> None:
    trained = stop_module(scale)
    expected = trained.token(torch.tensor([token_features(*view)]))[0].double().sigmoid()
    assert trained.frozen().right(*view) == pytest.approx(float(expected), rel=1e-3, abs=1e-300)


def test_states_over_their_root_mean_square_have_unit_size() -> None:
    state = np.random.default_rng(2).normal(0, 30, (3, WIDTH)).astype(np.float16)
    unit = unit_rms(state)
    assert unit.dtype == np.float32 and np.square(unit).mean(-1) == pytest.approx(1, rel=1e-3)
    assert math.isclose(float(np.abs(unit_rms(unit) - unit).max()), 0, abs_tol=1e-5)
