"""Actor and critic. The actor is the exit classifier that a bundle has; the critic is used in training only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from green_code.decoding.exit_classifier import BESIDE, HIDDEN_UNITS, ExitClassifier


def _orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class Critic(nn.Module):
    """Its input is the actor's and how much of the episode is left."""

    def __init__(self, width: int, exits: Sequence[int]) -> None:
        super().__init__()
        self.inner = _orthogonal(nn.Linear(width + BESIDE + 1, HIDDEN_UNITS), np.sqrt(2))
        self.exit_bias = nn.Embedding(len(exits), HIDDEN_UNITS)
        nn.init.zeros_(self.exit_bias.weight)
        self.out = _orthogonal(nn.Linear(HIDDEN_UNITS, 1), 1.0)

    def forward(self, features: Tensor, exit_index: Tensor, left: Tensor) -> Tensor:
        x = torch.cat((features, left[..., None]), -1)
        inner = torch.tanh(self.inner(x) + self.exit_bias(exit_index))
        return self.out(inner).squeeze(-1)  # type: ignore[no-any-return]


class ActorCritic(nn.Module):
    """Separate networks for policy and value, as in the paper (SB3's MlpPolicy)."""

    def __init__(self, width: int, exits: Sequence[int]) -> None:
        super().__init__()
        self.actor = ExitClassifier(width, exits)
        _orthogonal(self.actor.inner, np.sqrt(2))
        nn.init.zeros_(self.actor.exit_bias.weight)
        _orthogonal(self.actor.action, 0.01)
        self.critic = Critic(width, exits)

    def value(self, features: Tensor, exit_index: Tensor, left: Tensor) -> Tensor:
        """(…,) expected return."""
        return self.critic(features, exit_index, left)  # type: ignore[no-any-return]
