"""The weights of a configuration are those of the torch decoder, which is tested against transformers."""

from __future__ import annotations

import pytest

from green_code.models.decoder import Decoder
from green_code.models.families import config_from_hugging_face
from green_code.models.shapes import weight_shapes
from tests.models.references import small_models

CONFIGS = {name: config_from_hugging_face(model.config.to_dict()) for name, model in small_models().items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_weights_are_those_of_the_torch_decoder(name: str) -> None:
    theirs = {key: tuple(weight.shape) for key, weight in Decoder(CONFIGS[name]).state_dict().items()}
    assert weight_shapes(CONFIGS[name]) == theirs
