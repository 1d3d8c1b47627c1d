"""Teacher-forced scores of every exit, through its lens if the decoder has one."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from green_code.models.device import bfloat16_pays
from green_code.models.torch_decoder import Decoder
from green_code_lab.corpus import Corpus
from green_code_lab.lite.objective import exit_sums

Scores = dict[str, dict[str, dict[int, float]]]
"""{language: {"accuracy" | "agreement" | "loss": {depth: value}}}; loss is cross-entropy in nats per token."""

WINDOW = 256
MANIFEST_POSITIONS = 16_384  # per language
_ROWS = 8
_MEASURES = ("accuracy", "agreement", "loss")


Sums = Callable[[Tensor, tuple[int, ...]], Tensor]
"""Of token ids (B, N+1) at depths; see `objective.exit_sums`."""


@torch.no_grad()
def score(
    decoder: Decoder, corpus: Corpus, depths: tuple[int, ...], positions: int, bos: int | None, sums: Sums | None = None
) -> Scores:
    """Scores at exits and the last layer, on held-out shards: `positions` per language, in windows spread over the shard.

    `sums`: how the decoder is run; by default as it is.
    """
    depths, found = (*depths, decoder.config.layers), Scores()
    half = decoder.dtype == torch.float32 and bfloat16_pays(decoder.device)
    sums = sums or functools.partial(exit_sums, decoder)
    for language in corpus.languages:
        shard = corpus.shards[language, "heldout"]
        rows = max(1, min(positions, len(shard)) // WINDOW)
        starts = np.linspace(0, len(shard) - WINDOW - 2, rows).astype(int)
        windows = np.stack([shard[start : start + WINDOW + 1] for start in starts]).astype(np.int64)
        total = torch.zeros(len(_MEASURES), len(depths), dtype=torch.float64)
        for at in range(0, rows, _ROWS):
            tokens = begin_with(bos, torch.from_numpy(windows[at : at + _ROWS])).to(decoder.device)
            with torch.autocast(decoder.device.type, torch.bfloat16, enabled=half):
                total += sums(tokens, depths).cpu()
        means = (total / (rows * WINDOW)).tolist()
        found[language] = {name: dict(zip(depths, by, strict=True)) for name, by in zip(_MEASURES, means, strict=True)}
    return found


def begin_with(bos: int | None, tokens: Tensor) -> Tensor:
    """Write bos into column 0, as every prompt has it; Gemma is much worse without it."""
    if bos is not None:
        tokens[:, 0] = bos
    return tokens


def losses_at(scores: Scores, depth: int) -> dict[str, float]:
    """Loss at one depth by language."""
    return {language: by["loss"][depth] for language, by in scores.items()}


def rounded(scores: Scores, digits: int) -> Scores:
    return {
        language: {name: {d: round(v, digits) for d, v in by.items()} for name, by in measures.items()}
        for language, measures in scores.items()
    }
