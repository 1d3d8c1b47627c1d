"""`--device`: where the commands behind adaptation compute, in the words of the setting `greenCode.device`."""

from __future__ import annotations

import argparse

from green_code.engine.devices import check_device, device_problem, pick_card
from green_code.engine.loading import chosen_device
from green_code.kernels.weight_format import weight_formats
from green_code.models.bundle import Bundle
from green_code.models.catalog import find_model
from green_code.models.device import compute_device
from green_code.models.weights import Model, open_model
from green_code.settings import TABLE


def add_device(parser: argparse.ArgumentParser) -> None:
    """The default is the fastest that there is, so that all steps of a bundle have the same."""
    words = next(setting.enum for setting in TABLE if setting.name == "device")
    help = "where the model computes, as greenCode.device has it (default: cuda where torch finds a card, else cpu)"
    parser.add_argument("--device", choices=words, default=compute_device().type, help=help)


def open_on(device: str, model: str, bundle: Bundle | None) -> Model:
    """A model's decoder and vocabulary, without costs or policies, on the device that a word of `--device` means for it.

    Raises:
        Problem: see `open_model`.
        DeviceProblem: the device cannot be used.
    """
    found, card = find_model(model), 0
    if (chosen := chosen_device(device, found)) != "cpu":
        try:
            check_device(chosen)
            card, _ = pick_card(chosen)
        except Exception as error:
            raise device_problem(chosen, error) from error
    return open_model(found, bundle, weight_formats(chosen, card))
