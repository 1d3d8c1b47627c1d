"""The paper's environment (GREEN-CODE, arXiv 2501.11006; the seven rewards of its released code, `EnvHiddenState`).

An episode is one greedy completion at full depth, replayed. With l the layer of the current exit, L the last one (both
from 0, as in the paper's code), l* the first layer of any kind whose token is the last layer's, e* the first exit from l*
on, and n(l) the next exit, or L after the last:

  exit      l = e*                                  +1
            right, l ≠ e* (late)                    −α (l − l*)
            wrong, l < l* (early)                   −β (l* − l)
            wrong, l ≥ l* (agreement lost again)    −ε
  continue  l < l*                                  +1
            l ≥ l* (needless)                       −γ (n(l) − l*)
            at the last exit, where l* = L          +1, not divided

All but the last are divided by γ times the last exit. The only input is the hidden state; energy does not enter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from green_code.decoding.exit_classifier import EXIT
from green_code_lab.agent.networks import features
from green_code_lab.agent.rollouts import CHUNK, Rollouts


@dataclass(frozen=True)
class Rewards:
    """The paper's defaults."""

    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 1.0
    epsilon: float = 0.1


class PaperEnvironment:
    """`count` episodes side by side, each a greedy chunk drawn at random; an ended one is replaced."""

    def __init__(self, rollouts: Rollouts, rewards: Rewards, count: int, seed: int) -> None:
        self.rollouts, self.rewards, self.count = rollouts, rewards, count
        self._random = np.random.default_rng(seed)
        self._chunks = np.flatnonzero(rollouts.greedy)
        self.exit, self.row, self._end = np.zeros((3, count), np.int64)
        self._draw(np.ones(count, bool))

    def _draw(self, which: np.ndarray) -> None:
        chunk = self._random.choice(self._chunks, int(which.sum()))
        self.row[which], self._end[which] = self.rollouts.starts[chunk], self.rollouts.starts[chunk + 1]

    def observe(self) -> tuple[Tensor, Tensor]:
        """(count, C + EXTRA_FEATURES) features, 0 beside the state, and (count,) exit index."""
        states = torch.from_numpy(np.asarray(self.rollouts.states[self.row, self.exit], np.float32))
        nothing = torch.zeros(self.count)
        return features(states, nothing, nothing, nothing), torch.from_numpy(self.exit.copy())

    def left(self) -> Any:
        """(count,) share of the longest completion that is left."""
        return (self._end - self.row) / CHUNK

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Act; returns rewards (count,) and whether the completion ended."""
        leave = action == EXIT
        reward = np.where(leave, *rewards_of(self.rollouts, self.rewards, self.row, self.exit))
        done = leave | (self.exit == len(self.rollouts.exits) - 1)
        self.exit = np.where(done, 0, self.exit + 1)
        self.row += done
        ended = done & (self.row == self._end)
        if ended.any():
            self._draw(ended)
        return reward, ended


def rewards_of(
    rollouts: Rollouts, rewards: Rewards, row: np.ndarray, exit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of leaving and of going on, at an exit (index) of each row."""
    layers = np.array([*rollouts.exits, rollouts.layers]) - 1  # from 0
    layer, following, last = layers[exit], layers[exit + 1], len(layers) - 2
    first = rollouts.first_right[row] - 1  # l*
    right = rollouts.exit_tokens[row, exit] == rollouts.final_tokens[row]
    best = np.searchsorted(layers[:-1], first)  # e*; the last layer is no exit
    leaving = np.select(
        [exit == best, right, layer < first],
        [1.0, -rewards.alpha * (layer - first), -rewards.beta * (first - layer)],
        -rewards.epsilon,
    )
    going_on = np.where(layer < first, 1.0, -rewards.gamma * (following - first))
    scale = rewards.gamma * layers[last]
    at_end = (exit == last) & (first == layers[-1])
    return leaving / scale, np.where(at_end, 1.0, going_on / scale)


def sums_of_rewards(rollouts: Rollouts, rewards: Rewards) -> np.ndarray:
    """(P, X + 1): what a token earns in all if it leaves at each exit, and at full depth."""
    exits = range(len(rollouts.exits))
    rows = np.arange(len(rollouts.final_tokens))
    leaving, going_on = zip(
        *(rewards_of(rollouts, rewards, rows, np.full_like(rows, exit)) for exit in exits), strict=True
    )
    before: np.ndarray = np.cumsum([np.zeros(len(rows)), *going_on], axis=0).T
    result: np.ndarray = before + np.stack((*leaving, np.zeros(len(rows))), axis=1)
    return result
