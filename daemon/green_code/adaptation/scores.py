"""Teacher-forced scores of every exit on projects that training never saw."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from green_code.adaptation.corpus import Corpus
from green_code.adaptation.objective import bfloat16_pays, hidden_at
from green_code.adaptation.windows import begin_with
from green_code.models.decoder import Decoder

Scores = dict[str, dict[str, dict[int, float]]]
"""{language: {"accuracy" | "agreement" | "loss": {depth: value}}}; loss is cross-entropy in nats per token."""

WINDOW = 256
_ROWS = 8


@torch.no_grad()
def score(
    decoder: Decoder,
    corpus: Corpus,
    depths: tuple[int, ...],
    positions: int,
    bos: int | None,
) -> Scores:
    """Accuracy of the next token, agreement with the last layer's own top token, and loss, by language and depth.

    Args:
        corpus: its held-out shards are read. positions: per language, in windows of 256 spread over the shard; a
            small shard has fewer.
        depths: exits; the last layer is added.
    """
    depths = (*depths, decoder.config.layers)
    result: Scores = {}
    for language in corpus.languages:
        shard = corpus.shards[language, "heldout"]
        rows = max(1, min(positions, len(shard)) // WINDOW)
        starts = np.linspace(0, len(shard) - WINDOW - 2, rows).astype(int)
        sums = {name: dict.fromkeys(depths, 0.0) for name in ("accuracy", "agreement", "loss")}
        for at in range(0, rows, _ROWS):
            windows = [shard[s : s + WINDOW + 1].astype(np.int64) for s in starts[at : at + _ROWS]]
            tokens = begin_with(bos, torch.from_numpy(np.stack(windows))).to(decoder.device)
            target = tokens[:, 1:]
            half = decoder.dtype == torch.float32 and bfloat16_pays(decoder.device)
            with torch.autocast(decoder.device.type, torch.bfloat16, enabled=half):
                states = hidden_at(decoder, tokens[:, :-1], depths)
                final = decoder.logits(states[depths[-1]]).argmax(-1)
                for depth, state in states.items():
                    logits = decoder.logits(state).float()
                    top = logits.argmax(-1)
                    sums["accuracy"][depth] += (top == target).sum().item()
                    sums["agreement"][depth] += (top == final).sum().item()
                    sums["loss"][depth] += F.cross_entropy(
                        logits.flatten(0, 1), target.flatten(), reduction="sum"
                    ).item()
        count = rows * WINDOW
        result[language] = {name: {d: v / count for d, v in by.items()} for name, by in sums.items()}
    return result


def losses_at(scores: Scores, depth: int) -> dict[str, float]:
    """Loss at one depth by language."""
    return {language: by["loss"][depth] for language, by in scores.items()}
