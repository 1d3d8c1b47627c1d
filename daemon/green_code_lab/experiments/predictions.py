"""What each layer, seen through its lens where it has one, takes for the next token at every place of the rows' own text, by the
torch decoder in float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from green_code.models.adapters import read_adapters
from green_code.models.bundle import Bundle
from green_code.models.catalog import find_model
from green_code.models.decoder import Decoder
from green_code.models.device import compute_device
from green_code.models.vocabulary import Vocabulary
from green_code.models.weights import adapted_weights
from green_code_lab.evaluation.datasets import Row
from green_code_lab.lite.scores import score_windows

TOKENS = 192
"""Of a row, at its end: the reference and what comes before it. Shorter rows are left out."""


def predictions(
    model: str, bundle: Bundle | None, rows: Sequence[Row], vocabulary: Vocabulary, depths: Iterable[int]
) -> dict[str, Any]:
    """{"tokens": guessed tokens by language, "scores": see `score_windows`, with depths as text}.

    Raises:
        Problem: the model or its bundle is missing or damaged.
    """
    config, weights = adapted_weights(find_model(model), bundle)
    windows = _windows(rows, vocabulary)
    decoder = Decoder.load(config, weights).to(compute_device())
    decoder.set_lenses(read_adapters(bundle, config).lenses)
    scores = score_windows(decoder, windows, tuple(depths), vocabulary.bos)
    return {
        "tokens": {language: own.shape[0] * (own.shape[1] - 1) for language, own in windows.items()},
        "scores": {
            language: {
                name: {str(depth): value for depth, value in values.items()} for name, values in by.items()
            }
            for language, by in scores.items()
        },
    }


def _windows(rows: Sequence[Row], vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """Token ids [rows, TOKENS + 1] by language; where all rows are shorter, as many tokens as the shortest has."""
    found: dict[str, np.ndarray] = {}
    for language in dict.fromkeys(row.language for row in rows):
        texts = [
            vocabulary.encode(row.prefix + row.reference)[-TOKENS - 1 :]
            for row in rows
            if row.language == language
        ]
        whole = [text for text in texts if len(text) == TOKENS + 1]
        shortest = min(map(len, texts))
        found[language] = np.array(whole or [text[-shortest:] for text in texts])
    return found
