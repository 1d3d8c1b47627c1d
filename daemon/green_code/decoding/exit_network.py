"""The exit agent's network, and the one function that turns a hidden state into what it sees.

Training (`agent/`) and service (`exits.py`) both go through here, so that the agent meets in service exactly the
features that it learned from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from green_code.problems import Problem

CONTINUE, EXIT = 0, 1
HIDDEN_UNITS = 64


def features(states: Tensor, debt: Tensor) -> Tensor:
    """(…, C) hidden states and (…) depth debt → (…, C+1) features.

    The state is divided by its root mean square (its norm grows with depth and says little); the debt, in layer ×
    position evaluations that going on would cost, enters as a logarithm.
    """
    return torch.cat((unit_rms(states), torch.log1p(debt.float())[..., None] / math.log(1e4)), dim=-1)


def unit_rms(states: Tensor) -> Tensor:
    """(…, C) states over their root mean square, float32; twice is the same as once."""
    states = states.float()
    return states * states.pow(2).mean(-1, keepdim=True).add(1e-6).rsqrt()


class ExitNetwork(nn.Module):
    """One two-layer perceptron for all exits; each exit has its own learned bias on the hidden units.

    Args:
        width: C of the base model. exits: the depths at which it decides, ascending.
    """

    def __init__(self, width: int, exits: Sequence[int]) -> None:
        super().__init__()
        self.width, self.exits = width, tuple(exits)
        self.inner = nn.Linear(width + 1, HIDDEN_UNITS)
        self.exit_bias = nn.Embedding(len(self.exits), HIDDEN_UNITS)
        self.action = nn.Linear(HIDDEN_UNITS, 2)

    def forward(self, seen: Tensor, exit_index: Tensor) -> Tensor:
        """(…, C+1) features and (…) index of the exit → (…, 2) logits of CONTINUE and EXIT."""
        return self.action(torch.tanh(self.inner(seen) + self.exit_bias(exit_index)))  # type: ignore[no-any-return]

    def save_metadata(self) -> dict[str, str]:
        return {"exits": ",".join(map(str, self.exits)), "width": str(self.width)}


def load_exit_network(path: Path, exits: Sequence[int]) -> ExitNetwork:
    """Read agent.safetensors of a bundle whose exits are `exits`.

    Raises:
        Problem: the file is damaged, holds NaN, or was trained for other exits.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            trained = tuple(int(e) for e in metadata["exits"].split(","))
            width = int(metadata["width"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        if trained != tuple(exits):
            raise Problem(
                "bundle_invalid",
                f"{path.name} decides at {trained}, its bundle says {tuple(exits)}; fetch the bundle again, or retrain with `green-code train`.",
            )
        network = ExitNetwork(width, exits)
        network.load_state_dict(weights)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise Problem(
            "bundle_invalid", f"{path.name} is damaged ({error}); fetch the bundle again."
        ) from error
    if not all(torch.isfinite(w).all() for w in weights.values()):
        raise Problem(
            "bundle_invalid", f"{path.name} holds NaN or infinity; the bundle is refused. Fetch it again."
        )
    return network.requires_grad_(False).eval()
