"""A bundle's KV projections (models/adapters.py), trained against full depth.

Layers above the prefill exit make keys and values of propagated positions by these (SwiftKV, arXiv 2410.03960). The model
is frozen. A backend runs windows to the prefill exit and to full depth; then their first positions are propagated, the
last ones advance over these as in `fast`, and their distribution at every exit and the last layer is fitted to full depth's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.decoding.kv_cache import KVCache
from green_code.decoding.propagation import PropagatingKVCache
from green_code.models.adapters import LinearAdapter
from green_code.models.backend import Backend
from green_code.models.torch_decoder import Decoder
from green_code_lab.heads.lenses import minimise
from green_code_lab.heads.states import Windows
from green_code_lab.lite.scores import WINDOW

TAIL = 48  # positions at a window's end that stay exact
HELD_OUT_WINDOWS = 128  # of all languages
_SKIPPED = 8  # of the tail, the first, which are not scored
_BATCH = 8
_RATE = 3e-4  # at three times as much, noise outweighs what is learned
_WARM_UP_STEPS = 20


@torch.no_grad()  # autograd does not accept tensors of inference mode
def run_windows(served: Backend, rows: Sequence[Tensor], prefill_exit: int) -> tuple[Tensor, Tensor]:
    """(B, N, C) states of windows at the prefill exit, and (B, TAIL, C) at full depth; each has a cache of its own."""
    propagated, last = [], []
    for row in rows:
        cache = KVCache(served)
        cache.append(row.tolist())
        cache.advance(len(row) - 1, prefill_exit)
        propagated.append(torch.from_numpy(cache.states(0, len(row)).copy()))
        cache.advance(len(row) - 1, served.config.layers)
        last.append(torch.from_numpy(cache.states(len(row) - TAIL, len(row)).copy()))
    return torch.stack(propagated), torch.stack(last)


def advance_tail(decoder: Decoder, propagated: Tensor, projections: Mapping[int, Tensor | None]) -> dict[int, Tensor]:
    """(B, TAIL, C) states of the tail after each layer above the prefill exit, the positions before it propagated.

    Args:
        propagated: (B, N, C), at the prefill exit. projections: by layer, ascending; None: the layer's own.
    """
    below, x, found = propagated[:, :-TAIL], propagated[:, -TAIL:], dict[int, Tensor]()
    for layer, projection in projections.items():
        kv = decoder.keys_values(layer, below, 0, projection)
        room = kv[0].new_zeros(*kv[0].shape[:2], TAIL, kv[0].shape[-1])
        keys, values = (torch.cat((part, room), dim=2) for part in kv)
        x = found[layer] = decoder.run_layer(layer, x, below.shape[1], (keys, values))
    return found


def train_kv_projections(
    decoder: Decoder,
    served: Backend,
    windows: Windows,
    rows: Tensor,
    prefill_exit: int,
    exits: Sequence[int],
    count: int,
    seed: int,
    report: Callable[[str], None],
) -> dict[int, LinearAdapter]:
    """By layer above the prefill exit.

    Args:
        decoder: frozen adapted weights, float32, with lenses. served: runs the windows, `count` of them. rows: (K, C), the head's rows of
            frequent tokens.
    """
    layers, device = decoder.config.layers, decoder.device
    generator = np.random.default_rng(seed)
    rows = rows.to(device)

    def draw(step: int) -> tuple[Tensor, Tensor]:
        """Languages in turn, places drawn."""
        numbers = range(step * _BATCH, (step + 1) * _BATCH)
        return run_windows(served, [windows.draw(number, generator)[:-1] for number in numbers], prefill_exit)

    first = draw(0)
    scales = {layer: _scales(decoder, layer, first[0].to(device)) for layer in range(prefill_exit + 1, layers + 1)}
    learned = {
        layer: torch.zeros(len(outer), len(gain), device=device, requires_grad=True)
        for layer, (outer, gain) in scales.items()
    }
    optimiser = torch.optim.AdamW(learned.values(), lr=_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    scored = _scored_depths(exits, prefill_exit, layers)
    steps = max(1, count // _BATCH)
    warm_up = [min(1.0, (step + 1) / _WARM_UP_STEPS) for step in range(steps)]
    rates = [_RATE * warm * (1 + math.cos(math.pi * step / steps)) / 2 for step, warm in enumerate(warm_up)]

    def matrices() -> dict[int, Tensor]:
        return {layer: scales[layer][0][:, None] * part for layer, part in learned.items()}

    def loss_of(step: int) -> Tensor:
        propagated, last = first if step == 0 else draw(step)
        with torch.no_grad():
            target = F.linear(decoder.norm(last.to(device)[:, _SKIPPED:]), rows).softmax(-1)
        projections = {
            layer: decoder.kv_projection(layer, matrix * scales[layer][1]) for layer, matrix in matrices().items()
        }
        tail = advance_tail(decoder, propagated.to(device), projections)
        loss = torch.zeros((), device=device)
        for depth in scored:
            normed = decoder.norm(decoder.apply_lens(tail[depth][:, _SKIPPED:], depth))
            loss = loss - (target * F.linear(normed, rows).log_softmax(-1)).sum(-1).mean()
        return loss

    minimise(optimiser, rates, loss_of, 20, report)
    return {
        layer: LinearAdapter(matrix.detach().cpu().numpy(), scales[layer][1].cpu().numpy())
        for layer, matrix in matrices().items()
    }


@torch.inference_mode()
def compare(
    candidates: Mapping[str, Backend], windows: Windows, prefill_exit: int, exits: Sequence[int]
) -> dict[str, dict[str, dict[int, dict[str, float]]]]:
    """Agreement with full depth's top token, and divergence from its distribution, on held-out windows.

    By candidate, language and depth; candidates differ in their KV projections only.
    """
    layers = next(iter(candidates.values())).config.layers
    scored = _scored_depths(exits, prefill_exit, layers)
    found: dict[str, dict[str, dict[int, dict[str, float]]]] = {name: {} for name in candidates}
    places = windows.spread("heldout", HELD_OUT_WINDOWS * WINDOW)
    for i, language in enumerate(windows.corpus.languages):
        starts = [start for which, start in places if which == i]
        rows = [windows.at(language, "heldout", start, n, 0.5)[:-1] for n, start in enumerate(starts)]
        sums = {(name, depth): np.zeros(2) for name in candidates for depth in scored}
        for row in rows:
            full = None
            for name, served in candidates.items():
                cache = PropagatingKVCache(served, None)
                full = _log_probabilities(cache, row, layers) if full is None else full
                cache = PropagatingKVCache(served, prefill_exit)
                for depth in scored:
                    sums[name, depth] += _agreement(_log_probabilities(cache, row, depth), full)
        for (name, depth), total in sums.items():
            agreement, divergence = (total / len(rows)).tolist()
            figures = {"agreement": agreement, "divergence": divergence}
            found[name].setdefault(language, {})[depth] = figures
    return found


def _scored_depths(exits: Sequence[int], prefill_exit: int, layers: int) -> list[int]:
    """The exits above the prefill exit and the last layer, ascending."""
    return [*(exit for exit in exits if exit > prefill_exit), layers]


def _log_probabilities(cache: PropagatingKVCache, row: Tensor, depth: int) -> Tensor:
    """(N, V) at `depth`, of the scored positions; those before the tail are propagated, if the cache has a prefill exit."""
    served, count = cache.decoder, len(row)
    if not len(cache):
        cache.append(row.tolist())
        cache.propagate_before(count - TAIL)
    cache.advance(count - 1, depth)
    logits = served.all_logits(cache.buffers, count - TAIL + _SKIPPED, count, depth)
    return torch.from_numpy(logits).log_softmax(-1)


def _agreement(found: Tensor, full: Tensor) -> tuple[float, float]:
    divergence = F.kl_div(found, full, log_target=True, reduction="none").sum(-1).mean()
    return (found.argmax(-1) == full.argmax(-1)).float().mean().item(), divergence.item()


@torch.no_grad()
def _scales(decoder: Decoder, layer: int, propagated: Tensor) -> tuple[Tensor, Tensor]:
    """(2·K·D,) root mean squares of a layer's own keys and values, and (C,) one over those of its input, so that what is
    learned has about one size everywhere."""
    block = decoder.layers[layer - 1]
    normed = block.attention_norm(propagated).float()  # type: ignore[operator]
    own = F.linear(normed, block.key_value_weight)  # type: ignore[arg-type]
    outer, inner = (x.pow(2).mean((0, 1)).sqrt().clamp_min(1e-6) for x in (own, normed))
    return outer, 1 / inner
