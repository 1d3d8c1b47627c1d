"""An experiment: is an exit head of one gated block better than a lens?

It adds to the lens's state what a small gated MLP makes of the exit's, and is trained as the lens is, on the same recorded states:

    head(x) = lens(x̂) + W₃ (silu(W₁ x̂) · W₂ x̂),   x̂ = x / rms(x),   W₁, W₂ (M, C), W₃ (C, M)

No bundle has one: `green-code adapt exit-heads` prints both beside each other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from green_code.models.adapters import LinearAdapter
from green_code_lab.heads.lenses import fit_to_last
from green_code_lab.heads.states import unit

_PASSES = 4  # over all positions
_RATE = 5e-4


class ExitHead(nn.Module):
    """Begins as the lens. `units`: M."""

    def __init__(self, lens: LinearAdapter, units: int, eps: float) -> None:
        super().__init__()
        width = len(lens.gain)
        self._eps = eps
        self.gain = nn.Parameter(torch.from_numpy(lens.gain).clone(), requires_grad=False)
        self.matrix = nn.Parameter(torch.from_numpy(lens.matrix).clone())
        self.into = nn.Linear(width, 2 * units, bias=False)
        self.out = nn.Linear(units, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """States (N, C) over their root mean square as the head reads them, over theirs."""
        gate, value = self.into(x).chunk(2, -1)
        return unit(x + (x * self.gain) @ self.matrix.T + self.out(F.silu(gate) * value), self._eps)


def train_exit_head(
    states: np.ndarray,
    last: np.ndarray,
    rows: Tensor,
    lens: LinearAdapter,
    units: int,
    eps: float,
    seed: int,
    device: torch.device,
    report: Callable[[str], None],
) -> ExitHead:
    """Arguments as those of `train_lens`; `lens`: the exit's, where it begins."""
    torch.manual_seed(seed)
    head = ExitHead(lens, units, eps).to(device)
    fit_to_last(head.parameters(), head, states, last, rows, _PASSES, _RATE, seed, device, report)
    return head.eval()
