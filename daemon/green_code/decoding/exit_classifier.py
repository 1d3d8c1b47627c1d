"""The exit classifier: the network of the policy `agent`, and its input features.

Training uses `features` and `forward`. Decoding uses the same in NumPy, or in the kernel (kernels/exit_classifier.h); that all
are equal is tested in tests/decoding/test_exit_classifier.py and tests/kernels/test_exit_classifier.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from green_code.decoding.network_files import load_network
from green_code.kernels.binding import EXTRA_FEATURES
from green_code.kernels.exit_classifier import ExitParameters
from green_code.models.backend import TopToken
from green_code.problems import Problem

CONTINUE, EXIT = 0, 1
HIDDEN_UNITS = 64
_EPSILON = 1e-6
_PENDING_UNIT = math.log(1e4)
_MAX_LOG_ODDS = 6.0  # a probability of .9975; higher ones give the same feature


def features(states: Tensor, pending: Tensor, log_odds: Tensor, margin: Tensor) -> Tensor:
    """(…, C) hidden states, (…) pending work, and the top token's (…) log-odds and (…) margin → (…, C + EXTRA_FEATURES) features.

    The state is divided by its root mean square, as its norm grows with depth and means little. The pending work, in layer ×
    position evaluations that *continue* would cost, enters as a logarithm. Log-odds and margins are not scaled: they are larger
    than the state, so that the classifier learns from them first. They generalise better to other projects than a state does.
    """
    pending_feature = torch.log1p(pending.float()) / _PENDING_UNIT
    clipped = log_odds.float().clamp(-_MAX_LOG_ODDS, _MAX_LOG_ODDS)
    return torch.cat((unit_rms(states), torch.stack((pending_feature, clipped, margin.float()), -1)), dim=-1)


def unit_rms(states: Tensor) -> Tensor:
    """(…, C) states divided by their root mean square, float32; idempotent."""
    states = states.float()
    return states * states.pow(2).mean(-1, keepdim=True).add(_EPSILON).rsqrt()


class ExitClassifier(nn.Module):
    """One two-layer perceptron for all exits, with a learned bias of the hidden units for each exit.

    Args:
        width: C of the base model. exits: their depths, ascending.
    """

    def __init__(self, width: int, exits: Sequence[int]) -> None:
        super().__init__()
        self.width, self.exits = width, tuple(exits)
        self.inner = nn.Linear(width + EXTRA_FEATURES, HIDDEN_UNITS)
        self.exit_bias = nn.Embedding(len(self.exits), HIDDEN_UNITS)
        self.action = nn.Linear(HIDDEN_UNITS, 2)

    def forward(self, inputs: Tensor, exit_index: Tensor) -> Tensor:
        """(…, C + EXTRA_FEATURES) features and (…) index of the exit → (…, 2) logits of CONTINUE and EXIT."""
        return self.action(torch.tanh(self.inner(inputs) + self.exit_bias(exit_index)))  # type: ignore[no-any-return]

    def exit_probability(self, state: Tensor, pending: int, top: TopToken, exit_index: int) -> float:
        """P(EXIT) for one state (C,): the softmax of `forward` over `features`.

        On a CPU in NumPy: the sums take microseconds, and the calls of torch ten times as long.
        """
        if state.device.type != "cpu":
            inputs = features(
                state, *(torch.tensor(x, device=state.device) for x in (pending, top.log_odds, top.margin))
            )
            return float(self(inputs, torch.tensor(exit_index, device=state.device)).softmax(-1)[EXIT])
        inner, bias, exit_bias, action, action_bias = self._arrays
        clipped = max(-_MAX_LOG_ODDS, min(_MAX_LOG_ODDS, top.log_odds))
        extra = np.array((math.log1p(pending) / _PENDING_UNIT, clipped, top.margin), np.float32)
        x = state.float().numpy()
        x = x / math.sqrt(float(x @ x) / len(x) + _EPSILON)
        hidden = inner[:, :-EXTRA_FEATURES] @ x + inner[:, -EXTRA_FEATURES:] @ extra + bias + exit_bias[exit_index]
        scores = action @ np.tanh(hidden) + action_bias
        return 1 / (1 + math.exp(min(700.0, float(scores[CONTINUE] - scores[EXIT]))))

    @functools.cached_property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        """The parameters as NumPy arrays that share their memory."""
        return tuple(part.detach().numpy() for part in self._parts())

    def parameters_for_kernel(self) -> ExitParameters:
        """Copies of the parameters."""
        inner, bias, exit_bias, action, action_bias = (
            part.detach().float().cpu().numpy().copy() for part in self._parts()
        )
        return ExitParameters(inner, bias + exit_bias, action, action_bias, _PENDING_UNIT, _MAX_LOG_ODDS)

    def _parts(self) -> tuple[Tensor, ...]:
        return (self.inner.weight, self.inner.bias, self.exit_bias.weight, self.action.weight, self.action.bias)

    def save_metadata(self) -> dict[str, str]:
        return {"exits": ",".join(map(str, self.exits)), "width": str(self.width)}


def load_exit_classifier(path: Path, exits: Sequence[int]) -> ExitClassifier:
    """Read agent.safetensors of a bundle whose exits are `exits`.

    Raises:
        Problem: the file is damaged, has NaN, or was trained for other exits.
    """

    def build(metadata: Mapping[str, str]) -> ExitClassifier:
        trained = tuple(int(e) for e in metadata["exits"].split(","))
        width = int(metadata["width"])
        if trained != tuple(exits):
            raise Problem(
                "bundle_invalid",
                f"{path.name} decides at {trained}, its bundle says {tuple(exits)}; fetch the bundle again, or retrain with `green-code train`.",
            )
        return ExitClassifier(width, exits)

    return load_network(path, build)
