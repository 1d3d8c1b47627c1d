"""A bundle's entries (models/reading.py): what layers above the plateau keep of settled positions, learned against full depth.

Nothing of the model learns, only what makes keys and values of settled states: a few million numbers, taught by what is said
behind them. Windows are read by the decoder that serves, to the plateau and to full depth. Then stretches of a window's positions rise,
each over the entries of all that is before it, as they would in `fast`, and whatever depth decides is to say of these what full
depth says. One pass does all stretches: what settled is the same for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.adaptation.corpus import Corpus
from green_code.adaptation.lenses import FREQUENT
from green_code.adaptation.recipe import WINDOW
from green_code.adaptation.windows import begin_with
from green_code.decoding.staircase import Staircase
from green_code.models.decoder import Decoder, sees
from green_code.models.reading import Lens
from green_code.models.serving import Served
from green_code.models.sublayers import Sublayers

WINDOWS = 4_096
RISEN = 48  # positions of a stretch
HELD_OUT_WINDOWS = 64  # per language
UNCOUNTED = 8  # of those that rise, the first: what they say is asked of nobody
_BATCH = 8
_RATE = 1e-3
_WARM_UP_STEPS = 20


@dataclass(frozen=True)
class Read:
    """Windows as the decoder that serves has read them, (B, N, C) each: all states on the plateau, and at full depth."""

    settled: Tensor
    last: Tensor


@torch.no_grad()  # what inference mode makes, autograd takes no more
def read(served: Served, rows: Sequence[np.ndarray], plateau: int) -> Read:
    """Windows of tokens, each on a staircase of its own."""
    settled, last = [], []
    for row in rows:
        stairs = Staircase(served)
        stairs.append(row.tolist())
        stairs.advance(len(row) - 1, plateau)
        settled.append(stairs.states(0, len(row)).float().clone())
        stairs.advance(len(row) - 1, served.config.layers)
        last.append(stairs.states(0, len(row)).float().clone())
    return Read(torch.stack(settled), torch.stack(last))


def rise(
    decoder: Decoder,
    settled: Tensor,
    starts: Tensor,
    projections: Mapping[int, Tensor | None],
    sublayers: Sublayers,
) -> dict[int, Tensor]:
    """States of all positions at each layer above the plateau, (B, N, C), where each has risen with those from its start on, and
    those before have settled.

    Args:
        settled: (B, N, C), on the plateau. starts: (N,), or (B, N), where the stretch of each position begins.
        projections: of entries, by layer, ascending from the one above the plateau; None: the layer's own.
        sublayers: what settled goes through.
    """
    x, below, found = settled, settled, dict[int, Tensor]()
    count = settled.shape[1]
    # By position, its stretch and what comes after it.
    own = torch.arange(count, device=settled.device) >= starts[..., None]
    for layer, projection in projections.items():
        block = decoder.block(layer)
        seen = sees(0, count, 0, block.window, settled.device)
        entries, made = decoder.entries(layer, below, 0, projection), decoder.entries(layer, x)
        keys, values = (torch.cat(parts, dim=2) for parts in zip(entries, made, strict=True))
        mask = torch.cat((seen & ~own, seen & own), dim=-1)
        mask = mask if mask.dim() == 2 else mask[:, None]  # of heads
        x = found[layer] = block.think(decoder.attend(layer, x, 0, keys, values, mask))
        below = decoder.through(sublayers, layer, below, 0, *entries, seen)
    return found


def stretches(count: int, phase: int) -> Tensor:
    """(count,): where the stretch of RISEN positions begins that each of them is in; the first ends at `phase`."""
    positions = torch.arange(count)
    return (phase + (positions - phase).div(RISEN, rounding_mode="floor") * RISEN).clamp_min(0)


def counted(starts: Tensor) -> Tensor:
    """(N,) boolean: the positions whose words are asked for, of stretches that begin at `starts`."""
    return (starts > 0) & (torch.arange(len(starts), device=starts.device) - starts >= UNCOUNTED)


def entries_of(learned: Mapping[int, Tensor], scales: Mapping[int, tuple[Tensor, Tensor]]) -> dict[int, Lens]:
    """By layer, of what is learned over its scales."""
    return {
        layer: Lens(scales[layer][0][:, None] * part, scales[layer][1]) for layer, part in learned.items()
    }


def on_cpu(entries: Mapping[int, Lens]) -> dict[int, Lens]:
    """Entries that have learned, for keeps."""
    return {layer: Lens(entry.matrix.detach().cpu(), entry.gain.cpu()) for layer, entry in entries.items()}


def cross_entropies(
    decoder: Decoder, rows: Tensor, last: Tensor, risen: Mapping[int, Tensor], depths: Sequence[int]
) -> dict[int, Tensor]:
    """By depth, (B,): of what is said there, seen through its lens, from what full depth says of the same positions.

    Args:
        rows: of the head. last, risen: states (B, P, C), at full depth, and by depth.
    """
    with torch.no_grad():
        wanted = F.linear(decoder.norm(last), rows).float().softmax(-1)
    said = {depth: F.linear(decoder.norm(decoder.seen(risen[depth], depth)), rows) for depth in depths}
    return {
        depth: -(wanted * logits.float().log_softmax(-1)).sum(-1).mean(1) for depth, logits in said.items()
    }


def learn_entries(
    decoder: Decoder,
    served: Served,
    corpus: Corpus,
    plateau: int,
    sublayers: Sublayers,
    exits: Sequence[int],
    bos: int | None,
    windows: int,
    seed: int,
    report: Callable[[str], None],
) -> dict[int, Lens]:
    """The entries of each layer above the plateau.

    Args:
        decoder: the adapted weights, behind the bundle's lenses; they stay as they are. served: what reads windows.
    """
    layers, device = decoder.config.layers, decoder.device
    generator = np.random.default_rng(seed)
    drawn = Drawn(corpus, "train", bos)
    rows = head_rows(decoder, corpus).to(device, decoder.dtype)
    first = read(served, drawn.rows(_BATCH, generator), plateau)
    scales = scales_of(decoder, first.settled.to(device, decoder.dtype), plateau, sublayers)
    learned = {
        layer: torch.zeros(len(outer), len(gain), device=device, requires_grad=True)
        for layer, (outer, gain) in scales.items()
    }
    optimiser = torch.optim.AdamW(learned.values(), lr=_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    depths = deciding(exits, plateau, layers)
    steps, lost = max(1, windows // _BATCH), 0.0

    for step in range(steps):
        warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
        optimiser.param_groups[0]["lr"] = _RATE * warm * (1 + math.cos(math.pi * step / steps)) / 2
        batch = first if step == 0 else read(served, drawn.rows(_BATCH, generator), plateau)
        settled, last = (part.to(device, decoder.dtype) for part in (batch.settled, batch.last))
        starts = stretches(settled.shape[1], int(generator.integers(0, RISEN)))
        counts = counted(starts)
        entries = entries_of(learned, scales)
        projections = {layer: decoder.entry_projection(layer, entry) for layer, entry in entries.items()}
        risen = rise(decoder, settled, starts.to(device), projections, sublayers)
        asked = {depth: risen[depth][:, counts] for depth in depths}
        # In bfloat16 logits are off by some .04, and what is wanted by a divergence of .0007: little beside what is learned.
        each = cross_entropies(decoder, rows, last[:, counts], asked, depths)
        loss = torch.stack([of.mean() for of in each.values()]).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        lost += loss.item() / len(depths)
        if (step + 1) % max(1, steps // 20) == 0:
            report(f"step {step + 1} of {steps}: cross-entropy {lost / max(1, steps // 20):.4f}")
            lost = 0.0
    return on_cpu(entries_of(learned, scales))


@torch.inference_mode()
def compare(
    candidates: Mapping[str, Served], corpus: Corpus, plateau: int, exits: Sequence[int], bos: int | None
) -> dict[str, dict[str, dict[int, dict[str, float]]]]:
    """By candidate, language and depth, on held-out windows: the share of positions whose likeliest token is full depth's, and the
    divergence from its distribution, full depth being the first candidate's. The candidates are decoders that serve."""
    layers = next(iter(candidates.values())).config.layers
    depths = deciding(exits, plateau, layers)
    found: dict[str, dict[str, dict[int, dict[str, float]]]] = {name: {} for name in candidates}
    for language in corpus.languages:
        rows = Drawn(corpus, "heldout", bos, [language]).spread(HELD_OUT_WINDOWS)
        sums = {name: {depth: np.zeros(2) for depth in depths} for name in candidates}
        for row in rows:
            said = None
            for name, served in candidates.items():
                said = _said(Staircase(served), row, layers) if said is None else said
                stairs = Staircase(served, plateau=plateau)
                for depth in depths:
                    sums[name][depth] += _beside(_said(stairs, row, depth), said)
        for name, by in sums.items():
            found[name][language] = {
                depth: dict(zip(("agreement", "divergence"), (total / len(rows)).tolist(), strict=True))
                for depth, total in by.items()
            }
    return found


def deciding(exits: Sequence[int], plateau: int, layers: int) -> list[int]:
    """The depths above the plateau at which tokens are decided, ascending."""
    return [*(exit for exit in exits if exit > plateau), layers]


def _said(stairs: Staircase, row: np.ndarray, depth: int) -> Tensor:
    """Logarithms of probabilities at `depth`, (N, V), of the positions that count; those before the last RISEN settle, if any may."""
    served, count = stairs.decoder, len(row)
    if not len(stairs):
        stairs.append(row.tolist())
        stairs.settle(count - RISEN)
    stairs.advance(count - 1, depth)
    states = stairs.states(count - RISEN + UNCOUNTED, count)
    return served.logits(served.seen(states, depth)).float().log_softmax(-1)


def _beside(found: Tensor, wanted: Tensor) -> tuple[float, float]:
    divergence = F.kl_div(found, wanted, log_target=True, reduction="none").sum(-1).mean()
    return (found.argmax(-1) == wanted.argmax(-1)).float().mean().item(), divergence.item()


class Drawn:
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
def scales_of(
    decoder: Decoder, settled: Tensor, plateau: int, sublayers: Sublayers
) -> dict[int, tuple[Tensor, Tensor]]:
    """By layer, root mean squares of its own keys and values over settled states, (2·K·D,), and one over those of its input, (C,):
    what is learned is about as large everywhere then."""
    found = {}
    for layer in range(plateau + 1, decoder.config.layers + 1):
        block = decoder.block(layer)
        normed = block.attention_norm(settled)
        made = F.linear(normed, block.key_value_weight)
        outer, inner = (x.float().pow(2).mean((0, 1)).sqrt().clamp_min(1e-6) for x in (made, normed))
        found[layer] = outer, 1 / inner
        seen = sees(0, settled.shape[1], 0, block.window, settled.device)
        settled = decoder.through(sublayers, layer, settled, 0, *decoder.entries(layer, settled), seen)
    return found


def head_rows(decoder: Decoder, corpus: Corpus) -> Tensor:
    """(FREQUENT, C): the head's rows of the most frequent tokens."""
    counts = np.zeros(decoder.config.vocabulary, np.int64)
    for language in corpus.languages:
        counts += np.bincount(corpus.shards[language, "train"], minlength=len(counts))
    weight = decoder.embed.weight if decoder.config.tied_head else decoder.head.weight
    frequent = torch.from_numpy(counts).topk(min(FREQUENT, len(counts))).indices
    return weight[frequent.to(weight.device)].float()
