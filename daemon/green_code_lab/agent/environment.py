"""The exit decision as an environment: replayed rollouts, rewards in joules, and the pending work.

An episode is a stretch of typing in one document (`episodes.py`): several completions over one cache, so that debt
which is paid once serves later requests. At each exit the agent continues or exits:

  continue  costs what bringing every waiting position through the next segment costs;
  exit      costs `error` times what it does to the text (`Rollouts.errors`); the position then waits below the
            next layer, so that a later *continue* pays for it too.

Where prompts settle on a prefill exit, all but the last `EXACT_TAIL` + 1 of a request's new positions do, as in service, and never rise.
They are counted with the layers below the first exit, up to the prefill exit and with the keys and values of all layers above, which
a request comes to need as soon as one of its tokens goes on. What is left on the prefill exit or below it by an exit waits here, where
service lets it settle in the end: a bundle's first exit is best above its prefill exit.

Either way the question itself costs one decision and one head, whose token is the one that an exit gives; who decides without
looking at the head pays for it only where it exits. The layers below the first exit are always run: they are counted in
`spent`, not in rewards. After the last exit the token is decoded at full depth, which is never wrong. All costs are in
units of one token at full depth, warm; an episode is not discounted. Vectorised: every array has one entry a document.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from green_code.decoding.exit_classifier import EXIT, features
from green_code.decoding.propagation import EXACT_TAIL
from green_code_lab.agent.episodes import REQUESTS, Typing
from green_code_lab.agent.prices import Prices
from green_code_lab.agent.rollouts import Rollouts


class ExitEnvironment:
    """Documents that are typed into side by side; after its last request, a document begins anew.

    Args:
        prefill exit: the layer on which prompts settle; None: they rise whole. looks: at the head, before the choice.
    """

    def __init__(
        self, rollouts: Rollouts, prices: Prices, typing: Typing, prefill_exit: int | None, looks: bool = True
    ) -> None:
        self.rollouts, self.prices, self.typing, self._looks = rollouts, prices, typing, looks
        self._plateau = rollouts.layers if prefill_exit is None else prefill_exit
        self.count, self._requests = typing.first.shape
        self._env = np.arange(self.count)
        depths = [*rollouts.exits, rollouts.layers]
        self._segments = np.diff(depths)  # layers from exit i to the next, or to the end
        self.request = np.zeros(self.count, np.int64)
        self.token = np.zeros(self.count, np.int64)  # of the request's completion
        self.exit = np.zeros(self.count, np.int64)
        # Positions that wait below each segment, and how many of them the completion wrote.
        self.waiting = np.zeros((self.count, len(self._segments)), np.int64)
        self._written = np.zeros_like(self.waiting)
        self._fresh = np.ones(self.count, np.int64)  # positions that no layer has seen, and that rise
        self._settling = np.zeros(self.count, np.int64)  # those that do not
        self.served = np.zeros(self.count, np.int64)  # requests that are finished
        self.spent = np.zeros(self.count)  # what was run, errors not counted
        self._ask(np.ones(self.count, bool))

    @property
    def row(self) -> Any:
        """(count,): the position that is asked about."""
        return self.typing.first[self._env, self.request] + self.token

    def observe(self) -> tuple[Tensor, Tensor]:
        """(count, C + BESIDE) features and (count,) exit index."""
        states = torch.from_numpy(np.asarray(self.rollouts.states[self.row, self.exit], np.float32))
        log_odds, margin = (
            torch.from_numpy(column[self.row, self.exit])
            for column in (self.rollouts.log_odds, self.rollouts.margins)
        )
        seen = features(states, torch.from_numpy(self.pending()), log_odds, margin)
        return seen, torch.from_numpy(self.exit.copy())

    def pending(self) -> Any:
        """(count,) layer × position evaluations that going on to full depth would cost, as `KVCache.pending` counts."""
        later = np.arange(len(self._segments)) >= self.exit[:, None]
        return ((self.waiting + 1) * self._segments * later).sum(1) - self.waiting[:, -1]

    def left(self) -> Any:
        """(count,) share of the stretch's requests that are left."""
        return 1 - self.request % REQUESTS / REQUESTS

    def rise(self) -> Any:
        """(count,) the price of going on to the next exit."""
        last = self.exit == len(self._segments) - 1
        return self.prices.rise(self._segments[self.exit], self.waiting[self._env, self.exit], last)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Act; returns rewards (count,) and whether the stretch ended (the next has then begun)."""
        leave = action == EXIT
        at_end = ~leave & (self.exit == len(self._segments) - 1)
        head = self.prices.head
        cost = (
            self.prices.decision
            + head * (leave | self._looks)
            + np.where(leave, 0.0, self.rise() + head * at_end)
        )
        reward = -cost - self.prices.error * leave * self.rollouts.errors[self.row, self.exit]
        below = self.prices.layers(self.rollouts.exits[0], self._fresh)
        propagated = (
            self._plateau * self.prices.evaluation
            + (self.rollouts.layers - self._plateau) * self.prices.entry
        )
        self.spent += cost + (self.exit == 0) * (below + propagated * self._settling)
        up = self._env[~leave], self.exit[~leave]
        self.waiting[up] = self._written[up] = 0
        above = leave[:, None] & (np.arange(len(self._segments)) >= self.exit[:, None])
        self.waiting += above
        self._written += above & (self.token > 0)[:, None]
        done = leave | at_end
        self.exit = np.where(done, 0, self.exit + 1)
        self.token += done
        return reward, self._turn(done)

    def _turn(self, done: np.ndarray) -> Any:
        """Go on to the next token, request or stretch; returns whose stretch ended."""
        finished = done & (self.token == self.typing.length[self._env, self.request])
        rejected = finished & ~self.typing.accepted[self._env, self.request]
        self.waiting[rejected] -= self._written[rejected]
        self._written[finished] = 0
        self._fresh[done], self._settling[done] = 1, 0
        self.served += finished
        self.request = (self.request + finished) % self._requests
        self.token[finished] = 0
        self._ask(finished)
        return finished & (self.request % REQUESTS == 0)

    def _ask(self, which: np.ndarray) -> None:
        """New prompt tokens come; the last of them is the one that is asked about."""
        arrives = self.typing.arrives[self._env, self.request]
        rising = arrives if self._plateau == self.rollouts.layers else np.minimum(arrives, EXACT_TAIL + 1)
        self.waiting[which & self.typing.cold[self._env, self.request]] = 0
        self.waiting[which] += rising[which, None] - 1
        self._fresh[which], self._settling[which] = rising[which], (arrives - rising)[which]
