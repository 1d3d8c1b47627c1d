"""What entries are learned from: windows whose first positions settle, as they do on a staircase."""

from __future__ import annotations

import copy

import pytest
import torch

from green_code.adaptation.entries import RISEN, read, rise
from green_code.adaptation.scores import WINDOW
from green_code.decoding.staircase import Staircase
from green_code.models.families import ModelConfig
from green_code.models.reading import Lens
from tests.decoding.references import DECODERS, TOLERANCE

PLATEAU = 2


def entries(config: ModelConfig) -> dict[int, Lens]:
    generator = torch.Generator().manual_seed(5)
    shape = 2 * config.kv_heads * config.head_width, config.width
    return {
        layer: Lens(torch.randn(shape, generator=generator) / 8, torch.ones(config.width))
        for layer in range(PLATEAU + 1, config.layers + 1)
    }


@pytest.mark.parametrize("name", ["tiny", "opt"])
@pytest.mark.parametrize("learned", [False, True])
def test_positions_rise_in_training_as_they_do_in_service(name: str, learned: bool) -> None:
    decoder = copy.deepcopy(DECODERS[name])
    layers = decoder.config.layers
    rows = [
        torch.randint(3, 79, (WINDOW,), generator=torch.Generator().manual_seed(i)).numpy() for i in range(2)
    ]
    batch = read(decoder, rows, PLATEAU)
    own = dict.fromkeys(range(PLATEAU + 1, layers + 1))
    found = entries(decoder.config) if learned else {}
    projections = {layer: decoder.entry_projection(layer, entry) for layer, entry in found.items()}
    risen = rise(decoder, batch.settled, own | projections)
    decoder.enter_by(found)
    for i, row in enumerate(rows):
        stairs = Staircase(decoder, plateau=PLATEAU)
        stairs.append(row.tolist())
        stairs.settle(WINDOW - RISEN)
        for depth in (PLATEAU + 1, layers):
            stairs.advance(WINDOW - 1, depth)
            wanted = stairs.states(WINDOW - RISEN, WINDOW)
            torch.testing.assert_close(risen[depth][i], wanted, **TOLERANCE)
        exact = Staircase(decoder)
        exact.append(row.tolist())
        exact.advance(WINDOW - 1, layers)
        torch.testing.assert_close(batch.last[i], exact.states(WINDOW - RISEN, WINDOW), **TOLERANCE)
