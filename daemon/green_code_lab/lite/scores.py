"""Teacher-forced scores of every exit, through its lens if the decoder has one."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.models.device import bfloat16_pays
from green_code.models.torch_decoder import Decoder
from green_code_lab.corpus import Corpus
from green_code_lab.lite.objective import hidden_at

Scores = dict[str, dict[str, dict[int, float]]]
"""{language: {"accuracy" | "agreement" | "loss": {depth: value}}}; loss is cross-entropy in nats per token."""

WINDOW = 256
MANIFEST_POSITIONS = 16_384  # per language
_ROWS = 8


@torch.no_grad()
def score(decoder: Decoder, corpus: Corpus, depths: tuple[int, ...], positions: int, bos: int | None) -> Scores:
    """Scores at exits and the last layer, on held-out shards: `positions` per language, in windows spread over the shard."""
    depths = (*depths, decoder.config.layers)
    half = decoder.dtype == torch.float32 and bfloat16_pays(decoder.device)
    result: Scores = {}
    for language in corpus.languages:
        shard = corpus.shards[language, "heldout"]
        rows = max(1, min(positions, len(shard)) // WINDOW)
        starts = np.linspace(0, len(shard) - WINDOW - 2, rows).astype(int)
        windows = np.stack([shard[start : start + WINDOW + 1] for start in starts]).astype(np.int64)
        sums = {name: dict.fromkeys(depths, 0.0) for name in ("accuracy", "agreement", "loss")}
        for at in range(0, rows, _ROWS):
            tokens = begin_with(bos, torch.from_numpy(windows[at : at + _ROWS])).to(decoder.device)
            target = tokens[:, 1:]
            with torch.autocast(decoder.device.type, torch.bfloat16, enabled=half):
                states = hidden_at(decoder, tokens[:, :-1], depths)
                final = decoder.logits(states[depths[-1]]).argmax(-1)
                for depth, state in states.items():
                    logits = decoder.logits(decoder.apply_lens(state, depth)).float()
                    top = logits.argmax(-1)
                    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
                    sums["accuracy"][depth] += (top == target).sum().item()
                    sums["agreement"][depth] += (top == final).sum().item()
                    sums["loss"][depth] += loss.item()
        count = rows * WINDOW
        result[language] = {name: {d: v / count for d, v in by.items()} for name, by in sums.items()}
    return result


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
