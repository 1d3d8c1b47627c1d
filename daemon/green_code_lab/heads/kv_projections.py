"""A bundle's entries (models/reading.py): what layers above the prefill exit keep of settled positions, learned against full depth.

Nothing of the model learns, only what makes keys and values of settled states: a few million numbers, taught by what is said
behind them. Windows are read by the decoder that serves, to the prefill exit and to full depth; then their first positions settle,
the last ones rise over the entries as they would in `fast`, and whatever depth decides is to say of these what full depth says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.decoding.propagation import PropagatingKVCache
from green_code.models.adapters import LinearAdapter
from green_code.models.backend import Backend
from green_code.models.decoder import Decoder
from green_code_lab.corpus import Corpus
from green_code_lab.heads.lenses import FREQUENT
from green_code_lab.lite.scores import WINDOW
from green_code_lab.lite.windows import begin_with

WINDOWS = 4_096
RISEN = 48  # positions at a window's end
HELD_OUT_WINDOWS = 64  # per language
_UNCOUNTED = 8  # of those that rise, the first: what they say is asked of nobody
_BATCH = 8
_RATE = 3e-4  # at three times as much, noise outweighs what is learned
_WARM_UP_STEPS = 20


@dataclass(frozen=True)
class Read:
    """Windows as the decoder that serves has read them: `propagated` (B, N, C), all states on the prefill exit; `last` (B, R, C), those
    of the positions that rise, at full depth."""

    propagated: Tensor
    last: Tensor


@torch.no_grad()  # what inference mode makes, autograd takes no more
def read(served: Backend, rows: Sequence[np.ndarray], prefill_exit: int) -> Read:
    """Windows of tokens, each on a cache of its own."""
    propagated, last = [], []
    for row in rows:
        cache = PropagatingKVCache(served)
        cache.append(row.tolist())
        cache.advance(len(row) - 1, prefill_exit)
        propagated.append(cache.states(0, len(row)).float().clone())
        cache.advance(len(row) - 1, served.config.layers)
        last.append(cache.states(len(row) - RISEN, len(row)).float().clone())
    return Read(torch.stack(propagated), torch.stack(last))


def rise(decoder: Decoder, propagated: Tensor, projections: Mapping[int, Tensor | None]) -> dict[int, Tensor]:
    """States of the last RISEN positions at each layer above the prefill exit, (B, R, C), where those before have settled.

    Args:
        settled: (B, N, C), on the prefill exit. projections: by layer, ascending from the one above the prefill exit; None: the layer's own.
    """
    below, x, found = propagated[:, :-RISEN], propagated[:, -RISEN:], dict[int, Tensor]()
    for layer, projection in projections.items():
        kept = decoder.keys_values(layer, below, 0, projection)
        room = kept[0].new_zeros(*kept[0].shape[:2], RISEN, kept[0].shape[-1])
        keys, values = (torch.cat((part, room), dim=2) for part in kept)
        x = found[layer] = decoder.run_layer(layer, x, below.shape[1], (keys, values))
    return found


def learn_kv_projections(
    decoder: Decoder,
    served: Backend,
    corpus: Corpus,
    prefill_exit: int,
    exits: Sequence[int],
    bos: int | None,
    windows: int,
    seed: int,
    report: Callable[[str], None],
) -> dict[int, LinearAdapter]:
    """The entries of each layer above the prefill exit.

    Args:
        decoder: the adapted weights in float32, behind the bundle's lenses; they stay as they are. served: what reads windows.
    """
    layers, device = decoder.config.layers, decoder.device
    generator = np.random.default_rng(seed)
    drawn = _Drawn(corpus, "train", bos)
    rows = _head_rows(decoder, corpus).to(device)
    first = read(served, drawn.rows(_BATCH, generator), prefill_exit)
    scales = {
        layer: _scales(decoder, layer, first.propagated.to(device))
        for layer in range(prefill_exit + 1, layers + 1)
    }
    learned = {
        layer: torch.zeros(len(outer), len(gain), device=device, requires_grad=True)
        for layer, (outer, gain) in scales.items()
    }
    optimiser = torch.optim.AdamW(learned.values(), lr=_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    deciding = _deciding(exits, prefill_exit, layers)
    steps, lost = max(1, windows // _BATCH), 0.0

    def entries() -> dict[int, LinearAdapter]:
        return {
            layer: LinearAdapter(scales[layer][0][:, None] * part, scales[layer][1])
            for layer, part in learned.items()
        }

    for step in range(steps):
        warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
        optimiser.param_groups[0]["lr"] = _RATE * warm * (1 + math.cos(math.pi * step / steps)) / 2
        batch = first if step == 0 else read(served, drawn.rows(_BATCH, generator), prefill_exit)
        with torch.no_grad():
            wanted = F.linear(decoder.norm(batch.last.to(device)[:, _UNCOUNTED:]), rows).softmax(-1)
        projections = {layer: decoder.kv_projection(layer, entry) for layer, entry in entries().items()}
        risen = rise(decoder, batch.propagated.to(device), projections)
        loss = torch.zeros((), device=device)
        for depth in deciding:
            seen = decoder.norm(decoder.apply_lens(risen[depth][:, _UNCOUNTED:], depth))
            loss = loss - (wanted * F.linear(seen, rows).log_softmax(-1)).sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        lost += loss.item() / len(deciding)
        if (step + 1) % max(1, steps // 20) == 0:
            report(f"step {step + 1} of {steps}: cross-entropy {lost / max(1, steps // 20):.4f}")
            lost = 0.0
    return {
        layer: LinearAdapter(entry.matrix.detach().cpu(), entry.gain.cpu())
        for layer, entry in entries().items()
    }


@torch.inference_mode()
def compare(
    candidates: Mapping[str, Backend],
    corpus: Corpus,
    prefill_exit: int,
    exits: Sequence[int],
    bos: int | None,
) -> dict[str, dict[str, dict[int, dict[str, float]]]]:
    """By candidate, language and depth, on held-out windows: the share of positions whose likeliest token is full depth's, and the
    divergence from its distribution. The candidates are decoders that serve; they differ in entries alone."""
    layers = next(iter(candidates.values())).config.layers
    deciding = _deciding(exits, prefill_exit, layers)
    found: dict[str, dict[str, dict[int, dict[str, float]]]] = {name: {} for name in candidates}
    for language in corpus.languages:
        rows = _Drawn(corpus, "heldout", bos, [language]).spread(HELD_OUT_WINDOWS)
        sums = {name: {depth: np.zeros(2) for depth in deciding} for name in candidates}
        for row in rows:
            said = None
            for name, served in candidates.items():
                said = _said(PropagatingKVCache(served), row, layers) if said is None else said
                cache = PropagatingKVCache(served, prefill_exit=prefill_exit)
                for depth in deciding:
                    sums[name][depth] += _beside(_said(cache, row, depth), said)
        for name, by in sums.items():
            found[name][language] = {
                depth: dict(zip(("agreement", "divergence"), (total / len(rows)).tolist(), strict=True))
                for depth, total in by.items()
            }
    return found


def _deciding(exits: Sequence[int], prefill_exit: int, layers: int) -> list[int]:
    """The depths above the prefill exit at which tokens are decided, ascending."""
    return [*(exit for exit in exits if exit > prefill_exit), layers]


def _said(cache: KVCache, row: np.ndarray, depth: int) -> Tensor:
    """Logarithms of probabilities at `depth`, (N, V), of the positions that count; those before the last RISEN settle, if any may."""
    served, count = cache.decoder, len(row)
    if not len(cache):
        cache.append(row.tolist())
        cache.propagate_before(count - RISEN)
    cache.advance(count - 1, depth)
    states = cache.states(count - RISEN + _UNCOUNTED, count)
    return served.logits(served.apply_lens(states, depth)).float().log_softmax(-1)


def _beside(found: Tensor, wanted: Tensor) -> tuple[float, float]:
    divergence = F.kl_div(found, wanted, log_target=True, reduction="none").sum(-1).mean()
    return (found.argmax(-1) == wanted.argmax(-1)).float().mean().item(), divergence.item()


class _Drawn:
    """Windows of WINDOW tokens of a corpus's shards, languages in turn."""

    def __init__(
        self, corpus: Corpus, part: str, bos: int | None, languages: Sequence[str] | None = None
    ) -> None:
        self._shards = [corpus.shards[language, part] for language in languages or corpus.languages]
        self._bos = bos

    def rows(self, count: int, generator: np.random.Generator) -> list[np.ndarray]:
        shards = [self._shards[i % len(self._shards)] for i in range(count)]
        return [self._row(shard, int(generator.integers(0, len(shard) - WINDOW + 1))) for shard in shards]

    def spread(self, count: int) -> list[np.ndarray]:
        """Evenly over one shard."""
        shard = self._shards[0]
        return [self._row(shard, int(start)) for start in np.linspace(0, len(shard) - WINDOW, count)]

    def _row(self, shard: np.ndarray, start: int) -> np.ndarray:
        tokens = torch.from_numpy(shard[start : start + WINDOW].astype(np.int64))
        return np.asarray(begin_with(self._bos, tokens[None])[0])


@torch.no_grad()
def _scales(decoder: Decoder, layer: int, propagated: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean squares of a layer's own keys and values over settled states, (2·K·D,), and one over those of its input, (C,): what
    is learned is about as large everywhere then."""
    block = decoder.layers[layer - 1]
    normed = block.attention_norm(propagated).float()  # type: ignore[operator]
    own = F.linear(normed, block.key_value_weight)  # type: ignore[arg-type]
    outer, inner = (x.pow(2).mean((0, 1)).sqrt().clamp_min(1e-6) for x in (own, normed))
    return outer, 1 / inner


def _head_rows(decoder: Decoder, corpus: Corpus) -> Tensor:
    """(FREQUENT, C): the head's rows of the most frequent tokens."""
    counts = np.zeros(decoder.config.vocabulary, np.int64)
    for language in corpus.languages:
        counts += np.bincount(corpus.shards[language, "train"], minlength=len(counts))
    weight = decoder.embed.weight if decoder.config.tied_head else decoder.head.weight
    frequent = torch.from_numpy(counts).topk(min(FREQUENT, len(counts))).indices
    return weight[frequent.to(weight.device)].float()
