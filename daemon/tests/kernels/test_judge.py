"""The exit network, as the kernel computes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from green_code.decoding.exit_network import EXIT, ExitNetwork, features
from green_code.kernels.binding import Kernel
from green_code.models.serving import Top
from tests.kernels.references import GEMMA, made, states


def test_the_exit_network_in_one_call_is_the_exit_network(kernels: dict[str, Kernel]) -> None:
    torch.manual_seed(7)
    network = ExitNetwork(GEMMA.width, (2, 4)).requires_grad_(False)
    for kernel in kernels.values():
        judge = made(kernel, GEMMA).judge_of(network.for_service())
        assert judge is not None
        for scale in (0.01, 1.0, 300.0):
            for state in states(GEMMA)[:4] * scale:
                for debt, top, index in (
                    (0, Top(1, -3.0, 0.1), 0),
                    (17, Top(1, 20.0, 8.0), 1),
                    (1, Top(1, -20.0, 0.0), 1),
                    (40_000, Top(1, 0.3, 2.0), 0),
                ):
                    seen = features(state, *map(torch.tensor, (debt, top.odds, top.margin)))
                    expected = network(seen, torch.tensor(index)).softmax(-1)[EXIT].item()
                    assert judge(state, debt, top, index) == pytest.approx(expected, abs=2e-6)
        with pytest.raises(ValueError, match="index 2"):
            judge(states(GEMMA)[0], 0, Top(0, 0.0, 0.0), 2)
        with pytest.raises(ValueError, match="float32 vector"):
            judge(states(GEMMA)[0].double(), 0, Top(0, 0.0, 0.0), 0)


def test_parameters_of_another_network_are_refused(kernels: dict[str, Kernel]) -> None:
    decoder = made(next(iter(kernels.values())), GEMMA)
    good = ExitNetwork(GEMMA.width, (2, 4)).for_service()
    wrong = (
        replace(good, inner=good.inner[:, :-1]),
        replace(good, biases=good.biases[:, :-1]),
        replace(good, action=good.action[:1]),
    )
    for parameters in wrong:
        with pytest.raises(ValueError, match="exit network"):
            decoder.judge_of(parameters)
    odd = 48  # units, which are no multiple of what the kernel takes at once
    fewer = replace(good, inner=good.inner[:odd], biases=good.biases[:, :odd], action=good.action[:, :odd])
    assert decoder.judge_of(fewer) is None
