"""The weights of a configuration are those of the torch decoder, which is tested against transformers."""

from __future__ import annotations

import pytest

from green_code.models.hugging_face_config import config_from_hugging_face
from green_code.models.shapes import weight_shapes
from green_code.models.torch_decoder import Decoder
from tests.models.references import FAMILY_MODELS, family_model


@pytest.mark.parametrize("name", FAMILY_MODELS)
def test_the_weights_are_those_of_the_torch_decoder(name: str) -> None:
    config = config_from_hugging_face(family_model(name).config.to_dict())
    theirs = {key: tuple(weight.shape) for key, weight in Decoder(config).state_dict().items()}
    assert weight_shapes(config) == theirs
