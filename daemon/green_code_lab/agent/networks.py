"""The agents' networks in torch, for training; `frozen` gives the product's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from green_code.decoding.exit_classifier import EPSILON, HIDDEN_UNITS, MAX_LOG_ODDS, PENDING_UNIT, ExitClassifier
from green_code.decoding.stop_network import TOKEN_FEATURES, UNITS, StopNetwork
from green_code.kernels.binding import EXTRA_FEATURES


def features(states: Tensor, pending: Tensor, log_odds: Tensor, margin: Tensor) -> Tensor:
    """(…, C) hidden states, (…) pending work, and the top token's (…) log-odds and (…) margin → (…, C + EXTRA_FEATURES) features.

    The state is divided by its root mean square, as its norm grows with depth and means little. The pending work, in layer ×
    position evaluations that *continue* would cost, enters as a logarithm. Log-odds and margins are not scaled: they are larger
    than the state, so that the classifier learns from them first. They generalise better to other projects than a state does.
    """
    states = states.float()
    unit = states * states.pow(2).mean(-1, keepdim=True).add(EPSILON).rsqrt()
    pending_feature = torch.log1p(pending.float()) / PENDING_UNIT
    clipped = log_odds.float().clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)
    return torch.cat((unit, torch.stack((pending_feature, clipped, margin.float()), -1)), dim=-1)


class Actor(nn.Module):
    """Logits of both actions at an exit.

    Args:
        width: C of the base model. exits: their depths, ascending.
    """

    def __init__(self, width: int, exits: Sequence[int]) -> None:
        super().__init__()
        self.exits = tuple(exits)

    def forward(self, inputs: Tensor, exit_index: Tensor) -> Tensor:
        """(…, C + EXTRA_FEATURES) features and (…) index of the exit → (…, 2) logits of CONTINUE and EXIT."""
        raise NotImplementedError


class ExitModule(Actor):
    """See `ExitClassifier`."""

    def __init__(self, width: int, exits: Sequence[int]) -> None:
        super().__init__(width, exits)
        self.inner = nn.Linear(width + EXTRA_FEATURES, HIDDEN_UNITS)
        self.exit_bias = nn.Embedding(len(self.exits), HIDDEN_UNITS)
        self.action = nn.Linear(HIDDEN_UNITS, 2)

    def forward(self, inputs: Tensor, exit_index: Tensor) -> Tensor:
        return self.action(torch.tanh(self.inner(inputs) + self.exit_bias(exit_index)))  # type: ignore[no-any-return]

    def frozen(self) -> ExitClassifier:
        """A copy for decoding."""
        return ExitClassifier(self.exits, _parameters(self))


class PaperModule(Actor):
    """GREEN-CODE's policy (arXiv 2501.11006; MlpPolicy of Stable-Baselines3): two layers of 64 over the hidden state, which is all it
    sees. It is for comparison: bundles have `ExitClassifier`.
    """

    def __init__(self, width: int, exits: Sequence[int]) -> None:
        super().__init__(width, exits)
        self.layers = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

    def forward(self, inputs: Tensor, exit_index: Tensor) -> Tensor:
        return self.layers(inputs[..., :-EXTRA_FEATURES])  # type: ignore[no-any-return]


class StopModule(nn.Sequential):
    """See `StopNetwork`: (…, TOKEN_FEATURES) → (…, 1) log-odds."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(TOKEN_FEATURES, UNITS), nn.Tanh(), nn.Linear(UNITS, 1))

    def frozen(self) -> StopNetwork:
        """A copy for decoding."""
        return StopNetwork(_parameters(self))


def _parameters(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: part.detach().float().cpu().numpy().copy() for name, part in module.state_dict().items()}
