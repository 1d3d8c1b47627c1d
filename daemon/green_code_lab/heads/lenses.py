"""A bundle's tuned lenses (models/adapters.py), trained against the last layer over recorded states.

A lens begins as the linear map that is nearest to the last layer's states by least squares. Then its distribution is fitted. The model is
frozen, so states are recorded once, and a lens takes minutes on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from green_code.models.adapters import LinearAdapter
from green_code_lab.heads.states import parts, unit

FREQUENT = 8_192  # the most frequent tokens, over which distributions are compared
_BATCH = 512
_PASSES = 2  # over all positions
_WARM_UP_STEPS = 50
# The loss is flat in most directions of A: at 1e-3 noise grows there, and quantisation keeps it.
_RATE = 1e-4
_RIDGE = 1e-3  # of the inputs' mean square: directions in which states hardly vary stay as they are


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
    states: np.ndarray,
    last: np.ndarray,
    rows: Tensor,
    eps: float,
    seed: int,
    device: torch.device,
    report: Callable[[str], None],
) -> LinearAdapter:
    """Minimise the cross-entropy of the head's distribution behind the lens against that of the last layer.

    Args:
        states, last: (N, C) of one exit and of the last layer, over their root mean square. rows: (K, C), the head's rows of frequent
            tokens, the final norm's gain in their columns. eps: the norm's.
    """
    gain = _gain(states)
    scale = gain.to(device)
    matrix = least_squares(states, last, gain).to(device).requires_grad_(True)

    def through(x: Tensor) -> Tensor:
        return unit(x + (x * scale) @ matrix.T, eps)

    fit_to_last([matrix], through, states, last, rows, _PASSES, _RATE, seed, device, report)
    return LinearAdapter(matrix.detach().cpu().numpy(), gain.numpy())


def fit_to_last(
    parameters: Iterable[Tensor],
    through: Callable[[Tensor], Tensor],
    states: np.ndarray,
    last: np.ndarray,
    rows: Tensor,
    passes: int,
    rate: float,
    seed: int,
    device: torch.device,
    report: Callable[[str], None],
) -> None:
    """AdamW over so many passes, on the cross-entropy of the head's distribution behind `through` against that of the last layer.

    Args:
        through: (B, C) of an exit to (B, C) as the head reads them. states, last, rows: see `train_lens`.
    """
    generator, rows = torch.Generator().manual_seed(seed), rows.float().to(device)
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    steps = max(1, passes * len(states) // _BATCH)
    rates = [rate * min(1.0, (step + 1) / _WARM_UP_STEPS) * (1 - step / steps) for step in range(steps)]

    def loss_of(_: int) -> Tensor:
        chosen = torch.randint(len(states), (_BATCH,), generator=generator).sort().values.numpy()
        x, final = (torch.from_numpy(part[chosen].astype(np.float32)).to(device) for part in (states, last))
        with torch.no_grad():
            target = (final @ rows.T).softmax(-1)
        return -(target * (through(x) @ rows.T).log_softmax(-1)).sum(-1).mean()

    minimise(optimiser, rates, loss_of, 5, report)


def least_squares(states: np.ndarray, last: np.ndarray, gain: Tensor) -> Tensor:
    """(C, C): A that minimises Σ |last − x − A (g · x)|² over the states x, with a ridge."""
    width = states.shape[1]
    inputs, outputs = torch.zeros(width, width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    for x, final in parts(states, last):
        scaled = x * gain
        inputs += (scaled.T @ scaled).double()
        outputs += (scaled.T @ (final - x)).double()
    ridge = _RIDGE * len(states) * torch.eye(width, dtype=torch.float64)
    solved: Tensor = torch.linalg.solve(inputs + ridge, outputs)
    return solved.T.float().contiguous()


def _gain(states: np.ndarray) -> Tensor:
    """(C,): one over each component's root mean square."""
    squares = torch.zeros(states.shape[1])
    for (x,) in parts(states):
        squares += x.pow(2).sum(0)
    return (len(states) / squares.clamp_min(1e-12)).sqrt()


def lens_of(lens: LinearAdapter | None, eps: float) -> Callable[[Tensor], Tensor]:
    """States (N, C) over their root mean square → as the head reads them, over theirs. None: as they are."""
    if lens is None:
        return lambda x: x
    matrix, gain = torch.from_numpy(lens.matrix), torch.from_numpy(lens.gain)
    return lambda x: unit(x + (x * gain.to(x.device)) @ matrix.T.to(x.device), eps)
