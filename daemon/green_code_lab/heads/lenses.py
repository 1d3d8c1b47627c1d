"""A bundle's tuned lenses (models/adapters.py), trained against the last layer over training shards.

The model is frozen, so states are computed once, and a lens takes minutes on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.models.adapters import LinearAdapter
from green_code.models.backend import Backend
from green_code_lab.corpus import Corpus
from green_code_lab.heads.states import window_states
from green_code_lab.lite.scores import WINDOW

POSITIONS = 200_000  # per language
FREQUENT = 8_192  # the most frequent tokens, over which distributions are compared
_FIRST = 16  # the first position of a window that is used: prompts have such lengths
_BATCH = 512
_ROWS = 8_192  # at once in float32
_PASSES = 2  # over all positions
_WARM_UP_STEPS = 50
# The loss is flat in most directions of A: at 1e-3 noise grows there, and quantisation keeps it.
_RATE = 1e-4


@torch.inference_mode()
def record_states(
    decoder: Backend,
    corpus: Corpus,
    depths: Sequence[int],
    positions: int,
    bos: int | None,
    report: Callable[[str], None],
) -> tuple[dict[int, Tensor], Tensor]:
    """States over their root mean square, (N, C) float16, by depth, and the tokens' counts in their windows, (V,)."""
    config = decoder.config
    found: dict[int, list[Tensor]] = {depth: [] for depth in depths}
    counts = np.zeros(config.vocabulary, np.int64)
    for language in corpus.languages:
        recorded = 0
        for tokens, cache, _ in window_states(decoder, corpus, [language], positions, WINDOW - _FIRST, bos):
            counts += np.bincount(tokens, minlength=config.vocabulary)
            for depth in depths:
                cache.advance(WINDOW - 1, depth)
                states = torch.from_numpy(cache.states(_FIRST, WINDOW))
                found[depth].append(_unit(states, config.norm_eps).half())
            recorded += WINDOW - _FIRST
        report(f"{language}: states of {recorded:,} positions")
    return {depth: torch.cat(found.pop(depth)) for depth in depths}, torch.from_numpy(counts)


def minimise(
    optimiser: torch.optim.Optimizer,
    rates: Sequence[float],
    loss_of: Callable[[int], Tensor],
    reports: int,
    report: Callable[[str], None],
) -> None:
    """One step for each rate; the mean of `loss_of(step)` is reported so many times."""
    every, total = max(1, len(rates) // reports), 0.0
    for step, rate in enumerate(rates):
        optimiser.param_groups[0]["lr"] = rate
        loss = loss_of(step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += loss.item()
        if (step + 1) % every == 0:
            report(f"step {step + 1} of {len(rates)}: loss {total / every:.4f}")
            total = 0.0


def train_lens(
    states: Tensor,
    last: Tensor,
    head: Tensor,
    counts: Tensor,
    eps: float,
    seed: int,
    device: torch.device,
    report: Callable[[str], None],
) -> LinearAdapter:
    """Minimise the cross-entropy of the head's distribution behind the lens against that of the last layer.

    Args:
        states, last: (N, C) of one exit and of the last layer, over their root mean square. head: (V, C), the final
            norm's gain in its columns. counts: (V,), of tokens. eps: the norm's.
    """
    generator = torch.Generator().manual_seed(seed)
    frequent = counts.topk(min(FREQUENT, len(counts))).indices
    rows = head[frequent.to(head.device)].float().to(device)
    gain = _gain(states)
    scale = gain.to(device)
    matrix = torch.zeros(states.shape[1], states.shape[1], device=device, requires_grad=True)
    optimiser = torch.optim.AdamW([matrix], lr=_RATE, weight_decay=0.01)
    steps = max(1, _PASSES * len(states) // _BATCH)
    rates = [_RATE * min(1.0, (step + 1) / _WARM_UP_STEPS) * (1 - step / steps) for step in range(steps)]

    def loss_of(_: int) -> Tensor:
        chosen = torch.randint(len(states), (_BATCH,), generator=generator)
        x, final = (part[chosen].float().to(device) for part in (states, last))
        with torch.no_grad():
            target = (final @ rows.T).softmax(-1)
        logits = _unit(x + (x * scale) @ matrix.T, eps) @ rows.T
        return -(target * logits.log_softmax(-1)).sum(-1).mean()

    minimise(optimiser, rates, loss_of, 5, report)
    return LinearAdapter(matrix.detach().cpu().numpy(), gain.numpy())


def _gain(states: Tensor) -> Tensor:
    """(C,): one over each component's root mean square."""
    squares = torch.zeros(states.shape[1])
    for part in torch.split(states, _ROWS):
        squares += part.float().pow(2).sum(0)
    return (len(states) / squares.clamp_min(1e-12)).sqrt()


def _unit(x: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x.float(), x.shape[-1:], eps=eps)
