"""The exit classifier, as the kernel computes it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from green_code.kernels.binding import Kernel
from green_code.kernels.exit_classifier import exit_probability_function
from green_code.models.backend import TopToken
from tests.decoding.networks import exit_classifier
from tests.kernels.references import GEMMA, decoder_for, holding, states


def test_the_kernels_probability_is_that_of_the_network(kernels: dict[str, Kernel]) -> None:
    network = exit_classifier(GEMMA.width, (2, 4), seed=7)
    for kernel in kernels.values():
        decoder = decoder_for(kernel, GEMMA)
        classify = exit_probability_function(decoder, network.parameters_for_decoder())
        assert classify is not None
        for scale in (0.01, 1.0, 300.0):
            buffers = holding(decoder, states(GEMMA)[:4] * np.float32(scale))
            for position in range(4):
                for pending, top, index in (
                    (0, TopToken(1, -3.0, 0.1), 0),
                    (17, TopToken(1, 20.0, 8.0), 1),
                    (1, TopToken(1, -20.0, 0.0), 1),
                    (40_000, TopToken(1, 0.3, 2.0), 0),
                ):
                    expected = network.exit_probability(buffers.states[position], pending, top, index)
                    assert classify(buffers, position, pending, top, index) == pytest.approx(expected, abs=2e-6)
        with pytest.raises(ValueError, match="out of bounds"):
            classify(buffers, 0, 0, TopToken(0, 0.0, 0.0), 2)
        with pytest.raises(ValueError, match="positions 256"):
            classify(buffers, 256, 0, TopToken(0, 0.0, 0.0), 0)


def test_parameters_of_another_classifier_are_refused(kernels: dict[str, Kernel]) -> None:
    decoder = decoder_for(next(iter(kernels.values())), GEMMA)
    good = exit_classifier(GEMMA.width, (2, 4)).parameters_for_decoder()
    wrong = (
        replace(good, inner=good.inner[:, :-1]),
        replace(good, biases=good.biases[:, :-1]),
        replace(good, action=good.action[:1]),
    )
    for parameters in wrong:
        with pytest.raises(ValueError, match="exit classifier"):
            exit_probability_function(decoder, parameters)
    odd = 48  # hidden units, not a multiple of the kernel's block
    fewer = replace(good, inner=good.inner[:odd], biases=good.biases[:, :odd], action=good.action[:, :odd])
    assert exit_probability_function(decoder, fewer) is None
