"""Which sublayers settled positions can miss (models/sublayers.py): greedily, those that are cheapest to miss for what they save.

Nothing learns here: layers' own projections make keys and values, and what entries learn afterwards brings every choice closer
to full depth, by about the same factor. So the order is what it is for, and the bend in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.adaptation.corpus import Corpus
from green_code.adaptation.entries import RISEN, Drawn, counted, head_rows, rise, stretches
from green_code.models.decoder import Decoder
from green_code.models.sublayers import Sublayers

WINDOWS = 8
Kind = Literal["attention", "mlp"]
KINDS: tuple[Kind, ...] = ("attention", "mlp")
_LEAST = (
    0.5  # of the work of settling at the last exit: what has been left out then is too much for any bundle
)


@dataclass(frozen=True)
class Choice:
    """Where prompts settle, and what that costs and does.

    Attributes:
        work: of a settled position, in layers, by the size of the matrices that it goes through.
        divergence: of what the last layer says behind what settled, from what it says at full depth, in nats. agreement: the
            share of positions whose likeliest token is the same.
    """

    plateau: int
    sublayers: Sublayers
    work: float
    divergence: float
    agreement: float


@torch.no_grad()
def search(decoder: Decoder, corpus: Corpus, bos: int | None, last_exit: int, seed: int) -> Iterator[Choice]:
    """From settling at the last exit on, each with one sublayer less than the one before."""
    layers, device = decoder.config.layers, decoder.device
    rows = Drawn(corpus, "train", bos).rows(WINDOWS, np.random.default_rng(seed))
    x = decoder.embed_tokens(torch.from_numpy(np.stack(rows)).to(device))
    states = [x]
    for layer in range(1, layers + 1):
        states.append(decoder.run_layer(layer, states[-1]))
    starts = stretches(x.shape[1], RISEN // 2).to(device)
    counts = counted(starts)
    head = head_rows(decoder, corpus).to(device, decoder.dtype)

    def said(states: Tensor) -> Tensor:
        """Logarithms of probabilities, (B, N, FREQUENT)."""
        return F.linear(decoder.norm(states[:, counts]), head).float().log_softmax(-1)

    wanted = said(states[layers])
    costs = {
        (kind, layer): _work(decoder, kind, layer) for kind in KINDS for layer in range(1, last_exit + 1)
    }

    def tried(kept: frozenset[tuple[Kind, int]]) -> Choice:
        plateau, sublayers = _settling(kept)
        found = states[layers]
        if plateau < layers:
            own = dict.fromkeys(range(plateau + 1, layers + 1))
            found = rise(decoder, states[plateau], starts, own, sublayers)[layers]
        there = said(found)
        divergence = (wanted.exp() * (wanted - there)).sum(-1).mean().item()
        agreement = (wanted.argmax(-1) == there.argmax(-1)).float().mean().item()
        return Choice(plateau, sublayers, sum(costs[one] for one in kept), divergence, agreement)

    kept = frozenset(costs)
    choice = first = tried(kept)
    yield choice
    while len(kept) > 2 and choice.work > _LEAST * first.work:
        # The first layer's input is a token alone: without its sublayers, nothing later can be what it was.
        others = [kept - {one} for one in kept if one[1] > 1]
        by_rate = [
            ((found.divergence - choice.divergence) / (choice.work - found.work), rest, found)
            for rest in others
            for found in (tried(rest),)
        ]
        _, kept, choice = min(by_rate, key=lambda one: one[0])
        yield choice


def _settling(kept: frozenset[tuple[Kind, int]]) -> tuple[int, Sublayers]:
    """The plateau, up to which both sublayers of each layer are kept, and those above it."""
    plateau = 0
    while {(kind, plateau + 1) for kind in KINDS} <= kept:
        plateau += 1
    attention, mlp = (
        tuple(sorted(layer for own, layer in kept if own == kind and layer > plateau)) for kind in KINDS
    )
    return plateau, Sublayers(attention, mlp)


def _work(decoder: Decoder, kind: Kind, layer: int) -> float:
    """Of a sublayer, as a share of its layer: an attention without its keys and values, which are made in any case."""
    block = decoder.block(layer)
    entry = block.key_value_weight.numel()
    attention = block.qkv.weight.numel() - entry + block.attention_out.weight.numel()
    mlp = block.mlp_in.weight.numel() + block.mlp_out.weight.numel()
    return (attention if kind == "attention" else mlp) / (attention + mlp + entry)
