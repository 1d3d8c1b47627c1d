"""The exit decision as an environment: replayed rollouts, rewards in joules, and the depth debt.

An episode is a stretch of consecutive tokens of one document, preceded by positions that wait (a cold prompt: many;
the next keystroke: few). At each exit the agent continues or exits:

  continue  costs what bringing every waiting position through the next segment costs;
  exit      costs one head, and `error` if the token is wrong; the position then waits below the next layer,
            so that a later *continue* pays for it too.

Either way the question itself costs one decision. The layers below the first exit are always run and not counted.
After the last exit the token is decoded at full depth, which is never wrong. All costs are in units of one token at
full depth, warm; an episode is not discounted. Vectorised: every array has one entry an environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from green_code.agent.rollouts import SEQUENCE, Rollouts
from green_code.decoding.exit_network import EXIT, features
from green_code.models.serving import FEW


@dataclass(frozen=True)
class Prices:
    """Costs in units of a full-depth token: per layer run, per position in it (the first few of a batch, and the
    others), per head, per decision, of an error.

    All but `error`, what a wrong token is worth, come from the measured cost model.
    """

    run: float
    few: float
    evaluation: float
    head: float
    decision: float
    error: float = 1.0


class ExitEnvironment:
    """`count` episodes of `length` tokens side by side; each restarts at a random place when it ends."""

    def __init__(self, rollouts: Rollouts, prices: Prices, count: int, length: int, seed: int) -> None:
        self.rollouts, self.prices, self.count, self.length = rollouts, prices, count, length
        self._random = np.random.default_rng(seed)
        self._segments = np.diff(
            [*rollouts.exits, rollouts.layers]
        )  # layers from exit i to the next, or to the end
        self.right = rollouts.right  # (P, X)
        self.row = np.zeros(count, np.int64)  # position in the rollouts
        self._left = np.zeros(count, np.int64)  # tokens left in the episode
        self._waiting = np.zeros(
            (count, len(self._segments)), np.int64
        )  # positions that wait below each segment
        self.exit = np.zeros(count, np.int64)
        self._restart(np.ones(count, bool))

    def _restart(self, which: np.ndarray) -> None:
        n = int(which.sum())
        sequences = len(self.rollouts.final_tokens) // SEQUENCE
        inside = self._random.integers(0, SEQUENCE - self.length + 1, n)
        self.row[which] = self._random.integers(0, sequences, n) * SEQUENCE + inside
        self._left[which] = self.length
        # Half the requests are cold (a prompt of up to 512 waits everywhere), half follow a keystroke.
        cold = self._random.random(n) < 0.5
        waiting = np.where(cold, self._random.integers(32, 512, n), self._random.integers(0, 8, n))
        self._waiting[which] = waiting[:, None]
        self.exit[which] = 0

    def observe(self) -> tuple[Tensor, Tensor]:
        """(count, C+1) features and (count,) exit index."""
        states = torch.from_numpy(np.asarray(self.rollouts.states[self.row, self.exit], np.float32))
        return features(states, torch.from_numpy(self.debt())), torch.from_numpy(self.exit.copy())

    def debt(self) -> Any:
        """(count,) layer × position evaluations that going on to full depth would cost, as `Staircase.debt` counts."""
        later = np.arange(len(self._segments)) >= self.exit[:, None]
        return ((self._waiting + 1) * self._segments * later).sum(1)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Act; returns rewards (count,) and whether the episode ended (it has then restarted)."""
        prices, env = self.prices, np.arange(self.count)
        leave = action == EXIT
        reward = np.full(self.count, -prices.decision)
        right = self.right[self.row, self.exit]
        reward[leave] -= prices.head + prices.error * ~right[leave]
        segment = self._segments[self.exit]
        rows = 1 + self._waiting[env, self.exit]
        few = np.minimum(rows, FEW)
        rise = segment * (prices.run + prices.few * few + prices.evaluation * (rows - few))
        reward[~leave] -= rise[~leave]
        self._waiting[env[~leave], self.exit[~leave]] = 0
        at_end = ~leave & (self.exit == len(self._segments) - 1)
        reward[at_end] -= prices.head
        above = np.arange(len(self._segments)) >= self.exit[:, None]
        self._waiting[leave] += above[leave]
        token_done = leave | at_end
        self.exit = np.where(token_done, 0, self.exit + 1)
        self.row += token_done
        self._left -= token_done
        ended = self._left == 0
        if ended.any():
            self._restart(ended)
        return reward, ended
