"""What each depth predicts at held-out positions, with and without its lens, and which depths are worth an exit.

An exit pays by leaving where it is sure. A token that leaves at depth d of L saves the L − d layers above. A wrong one costs a token
of full depth, L layers, as it has to be written again. So leaving pays where

    (1 − p) · L < L − d,   that is p > d / L,   p: the probability of the exit's own top token

and each exit costs one reading of the head for every token that reaches it. Over held-out positions this gives a saving for any set
of exits. Exits are added one by one, the best first, while one adds at least `LEAST_SAVING`: a further one is also one more lens to load
and one more decision for each token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.models.backend import CANDIDATES
from green_code.models.config import ModelConfig
from green_code.models.device import bfloat16_pays
from green_code.models.shapes import weight_shapes
from green_code.models.svd_head import RANK
from green_code_lab.heads.states import States
from green_code_lab.lite.scores import Scores

LEAST_SAVING = 0.01  # of full depth
_ROWS = 256  # at once: the whole head's logits


@dataclass(frozen=True)
class Predictions:
    """Of one depth at N positions: the top token, its probability, and the cross-entropy of the window's next token (0: unknown), (N,)."""

    tokens: np.ndarray
    probabilities: np.ndarray
    losses: np.ndarray


def candidate_depths(layers: int) -> tuple[int, ...]:
    """Every other layer from a quarter of the depth on, without the last."""
    return tuple(range(max(1, -(-layers // 4)), layers, 2))


@torch.inference_mode()
def predict(
    states: np.ndarray, targets: np.ndarray, head: Tensor, through: Callable[[Tensor], Tensor] = lambda x: x
) -> Predictions:
    """
    Args:
        states: (N, C) over their root mean square. targets: (N,), the next tokens, or −1: none of the head's. head: (V, C), the final
            norm's gain in its columns. through: makes of states what the head reads, such as a lens.
    """
    half, found = bfloat16_pays(head.device), list[tuple[Tensor, ...]]()
    head = head.bfloat16() if half else head
    for at in range(0, len(states), _ROWS):
        x, target = (torch.tensor(part[at : at + _ROWS], device=head.device) for part in (states, targets))
        logits = (through(x.float()).to(head.dtype) @ head.T).float()
        greatest, token = logits.max(-1)
        total = logits.logsumexp(-1)
        found.append(
            (token, (greatest - total).exp(), F.cross_entropy(logits, target.long(), reduction="none", ignore_index=-1))
        )
    tokens, probabilities, losses = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
    return Predictions(tokens, probabilities, losses)


def scores(found: Mapping[int, Predictions], states: States, languages: Sequence[str]) -> Scores:
    """By language; the greatest depth of `found` is the last layer."""
    final, result = found[max(found)].tokens, Scores()
    for i, language in enumerate(languages):
        own = states.languages == i
        measures = {
            depth: {
                "accuracy": each.tokens == states.tokens, "agreement": each.tokens == final, "loss": each.losses,
            }
            for depth, each in found.items()
        }  # fmt: skip
        result[language] = {
            name: {depth: float(by[name][own].mean()) for depth, by in measures.items()}
            for name in ("accuracy", "agreement", "loss")
        }
    return result


def head_layers(config: ModelConfig) -> float:
    """Weights that reading an SVD head takes, in those of a layer."""
    shapes = weight_shapes(config)
    layer = sum(int(np.prod(shape)) for name, shape in shapes.items() if name.startswith("layers.0."))
    return (config.vocabulary * RANK + CANDIDATES * config.width) / layer


def saving(exits: Sequence[int], found: Mapping[int, Predictions], head: float) -> float:
    """Share of full depth's layers that these exits save, wrong tokens counted; `found`: of them and the last layer. `head`: in layers."""
    last = max(found)
    final, left, saved = found[last].tokens, np.ones(len(found[last].tokens), bool), 0.0
    for depth in exits:
        leaves = left & (found[depth].probabilities * last > depth)
        wrong = leaves & (found[depth].tokens != final)
        saved += leaves.mean() * (last - depth + head) - wrong.mean() * last - left.mean() * head
        left &= ~leaves
    return float(saved) / last


def choose_exits(found: Mapping[int, Predictions], head: float) -> tuple[int, ...]:
    """The depths of `found` that are worth an exit, by the module's rule; the best one where none is."""
    chosen, before = tuple[int, ...](), 0.0
    while left := [depth for depth in found if depth not in (*chosen, max(found))]:
        tried = {depth: saving(sorted((*chosen, depth)), found, head) for depth in left}
        best = max(tried, key=tried.__getitem__)
        if chosen and tried[best] < before + LEAST_SAVING:
            break
        chosen, before = tuple(sorted((*chosen, best))), tried[best]
    return chosen
