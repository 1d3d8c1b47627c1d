"""The exit agent's network, and what it sees of a hidden state: `features` in training, the same in NumPy in service.

Training (`agent/`) and service (`exits.py`) both go through here, so that the agent meets in service the features that
it learned from; test_exit_network.py holds the two forms equal.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from green_code.models.serving import ExitParameters
from green_code.problems import Problem

CONTINUE, EXIT = 0, 1
HIDDEN_UNITS = 64
SMALL_HEAD = 512  # tokens of the small head
BESIDE = 2  # features beside the hidden state
_EPSILON = 1e-6
_DEBT_UNIT = math.log(1e4)
_ODDS_UNIT = 6.0  # log-odds of .9975; surer than that is the same


def features(states: Tensor, debt: Tensor, confidence: Tensor) -> Tensor:
    """(…, C) hidden states, (…) depth debt and (…) the small head's confidence → (…, C + BESIDE) features.

    The state is divided by its root mean square (its norm grows with depth and says little); the debt, in layer ×
    position evaluations that going on would cost, enters as a logarithm, the confidence as log-odds.
    """
    owed = torch.log1p(debt.float()) / _DEBT_UNIT
    odds = torch.logit(confidence.float(), _EPSILON).clamp(-_ODDS_UNIT, _ODDS_UNIT) / _ODDS_UNIT
    return torch.cat((unit_rms(states), owed[..., None], odds[..., None]), dim=-1)


def debt_feature(debt: int) -> float:
    """The debt as `features` has it."""
    return math.log1p(debt) / _DEBT_UNIT


def _beside(debt: int, confidence: float) -> np.ndarray:
    """What `features` puts beside the state."""
    p = min(1 - _EPSILON, max(_EPSILON, confidence))
    odds = max(-_ODDS_UNIT, min(_ODDS_UNIT, math.log(p / (1 - p)))) / _ODDS_UNIT
    return np.array([debt_feature(debt), odds], np.float32)


def top_probability(logits: Tensor) -> float:
    """The greatest of softmax(logits), (K,); by NumPy on the CPU, as `exit_probability`."""
    if logits.device.type != "cpu":
        return float(logits.float().softmax(-1).max())
    found = logits.float().numpy()
    return 1 / float(np.exp(found - found.max()).sum())


def unit_rms(states: Tensor) -> Tensor:
    """(…, C) states over their root mean square, float32; twice is the same as once."""
    states = states.float()
    return states * states.pow(2).mean(-1, keepdim=True).add(_EPSILON).rsqrt()


class ExitNetwork(nn.Module):
    """One two-layer perceptron for all exits; each exit has its own learned bias on the hidden units.

    Args:
        width: C of the base model. exits: the depths at which it decides, ascending. small_head: the tokens, common ones,
            whose greatest probability among themselves it sees.
    """

    small_head: Tensor

    def __init__(self, width: int, exits: Sequence[int], small_head: Sequence[int]) -> None:
        super().__init__()
        self.width, self.exits = width, tuple(exits)
        self.register_buffer("small_head", torch.tensor(small_head, dtype=torch.int32))
        self.inner = nn.Linear(width + BESIDE, HIDDEN_UNITS)
        self.exit_bias = nn.Embedding(len(self.exits), HIDDEN_UNITS)
        self.action = nn.Linear(HIDDEN_UNITS, 2)

    def forward(self, seen: Tensor, exit_index: Tensor) -> Tensor:
        """(…, C + BESIDE) features and (…) index of the exit → (…, 2) logits of CONTINUE and EXIT."""
        return self.action(torch.tanh(self.inner(seen) + self.exit_bias(exit_index)))  # type: ignore[no-any-return]

    def exit_probability(self, state: Tensor, debt: int, confidence: float, exit_index: int) -> float:
        """P(EXIT) for one state (C,), which is what service asks for; the same as `forward` behind `features`.

        On the CPU by NumPy: the sums take microseconds, and torch would take ten times that to call them.
        """
        if state.device.type != "cpu":
            seen = features(state, *(torch.tensor(x, device=state.device) for x in (debt, confidence)))
            return float(self(seen, torch.tensor(exit_index, device=state.device)).softmax(-1)[EXIT])
        inner, bias, exit_bias, action, action_bias = self._arrays
        x = state.float().numpy()
        x = x / math.sqrt(float(x @ x) / len(x) + _EPSILON)
        hidden = (
            inner[:, :-BESIDE] @ x
            + inner[:, -BESIDE:] @ _beside(debt, confidence)
            + bias
            + exit_bias[exit_index]
        )
        scores = action @ np.tanh(hidden) + action_bias
        return 1 / (1 + math.exp(min(700.0, float(scores[CONTINUE] - scores[EXIT]))))

    @functools.cached_property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        """The parameters' own memory."""
        return tuple(part.detach().numpy() for part in self._parts())

    def for_service(self) -> ExitParameters:
        """Copies of the parameters, as a decoder's `judge_of` takes them."""
        inner, bias, exit_bias, action, action_bias = (
            part.detach().float().cpu().numpy().copy() for part in self._parts()
        )
        return ExitParameters(self.small_head.tolist(), inner, bias + exit_bias, action, action_bias)

    def _parts(self) -> tuple[Tensor, ...]:
        return (
            self.inner.weight,
            self.inner.bias,
            self.exit_bias.weight,
            self.action.weight,
            self.action.bias,
        )

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
        if "small_head" not in weights:
            raise Problem(
                "bundle_invalid", f"{path.name} is of an older version; retrain it with `green-code train`."
            )
        small_head = weights["small_head"]
        if (
            small_head.dim() != 1
            or small_head.is_floating_point()
            or not len(small_head)
            or small_head.min() < 0
        ):
            raise Problem(
                "bundle_invalid",
                f"the small head of {path.name} is no list of tokens; fetch the bundle again.",
            )
        if trained != tuple(exits):
            raise Problem(
                "bundle_invalid",
                f"{path.name} decides at {trained}, its bundle says {tuple(exits)}; fetch the bundle again, or retrain with `green-code train`.",
            )
        network = ExitNetwork(width, exits, small_head.tolist())
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
