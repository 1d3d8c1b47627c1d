"""The exit decision as an environment: replayed rollouts, rewards in joules, and the pending work.

An episode is simulated typing in one document (`episodes.py`): several completions over one cache, so that work done once
serves later requests. At each exit the agent continues or exits:

  continue  costs the next segment of layers over all waiting positions;
  exit      costs `error` times its effect on the text (`Rollouts.errors`); the position then waits below the next layer,
            so that a later *continue* pays for it too.

With a prefill exit, all but the last `EXACT_TAIL` of a request's new positions are propagated, as in service. They cost
the layers up to the prefill exit, and keys and values alone in all layers above. Positions left below the prefill exit wait
here, where service propagates them in the end: a bundle's first exit is best above its prefill exit.

Each decision also costs one head, of the exit's token; a baseline that does not use the head pays for it only where it
exits. The layers below the first exit always run: they are in `cost`, not in rewards. After the last exit the token is
decoded at full depth. All costs are in units of one full-depth token; episodes are not discounted. Every array has one
entry a document.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from green_code.decoding.exit_classifier import EXIT
from green_code.decoding.propagation import EXACT_TAIL
from green_code_lab.agent.episodes import REQUESTS, Typing
from green_code_lab.agent.networks import features
from green_code_lab.agent.prices import TokenPrices
from green_code_lab.agent.rollouts import Rollouts


class ExitEnvironment:
    """Documents side by side; after its last request, a document starts again. `uses_head`: before each decision."""

    def __init__(
        self, rollouts: Rollouts, prices: TokenPrices, typing: Typing, prefill_exit: int | None, uses_head: bool = True
    ) -> None:
        self.rollouts, self.prices, self.typing, self._uses_head = rollouts, prices, typing, uses_head
        self._prefill_exit = rollouts.layers if prefill_exit is None else prefill_exit
        self.count, self._requests = typing.first.shape
        self._env = np.arange(self.count)
        self._segments = np.diff([*rollouts.exits, rollouts.layers])  # layers from exit i to the next
        # Request, token of its completion, exit, finished requests.
        self.request, self.token, self.exit, self.served = np.zeros((4, self.count), np.int64)
        # Positions that wait below each segment, and how many of them the completion wrote.
        self.waiting = np.zeros((self.count, len(self._segments)), np.int64)
        self._written = np.zeros_like(self.waiting)
        # New positions that stay exact, and those that are propagated.
        self._exact, self._propagated = np.ones(self.count, np.int64), np.zeros(self.count, np.int64)
        self.cost = np.zeros(self.count)  # of everything run, without errors
        self._start_requests(np.ones(self.count, bool))

    @property
    def row(self) -> Any:
        """(count,): the rollouts' row of the current decision."""
        return self.typing.first[self._env, self.request] + self.token

    def observe(self) -> tuple[Tensor, Tensor]:
        """(count, C + EXTRA_FEATURES) features and (count,) exit index."""
        at = self.row, self.exit
        states = torch.from_numpy(np.asarray(self.rollouts.states[at], np.float32))
        log_odds, margin = (torch.from_numpy(column[at]) for column in (self.rollouts.log_odds, self.rollouts.margins))
        pending = torch.from_numpy(self.pending())
        return features(states, pending, log_odds, margin), torch.from_numpy(self.exit.copy())

    def pending(self) -> Any:
        """(count,) layer × position evaluations to full depth, as `KVCache.pending` counts."""
        later = np.arange(len(self._segments)) >= self.exit[:, None]
        return ((self.waiting + 1) * self._segments * later).sum(1) - self.waiting[:, -1]

    def left(self) -> Any:
        """(count,) share of the episode's requests that are left."""
        return 1 - self.request % REQUESTS / REQUESTS

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Act; returns rewards (count,) and whether the episode ended (the next has then started)."""
        prices, layers = self.prices, self.rollouts.layers
        leave, at_last = action == EXIT, self.exit == len(self._segments) - 1
        at_end = ~leave & at_last
        advance = prices.advance(self._segments[self.exit], self.waiting[self._env, self.exit], at_last)
        cost = (
            prices.decision
            + prices.head * (leave | self._uses_head)
            + np.where(leave, 0.0, advance + prices.head * at_end)
        )
        reward = -cost - prices.error * leave * self.rollouts.errors[self.row, self.exit]
        below = prices.layers(self.rollouts.exits[0], self._exact)
        propagated = self._prefill_exit * prices.layer_position + (layers - self._prefill_exit) * prices.kv_only
        self.cost += cost + (self.exit == 0) * (below + propagated * self._propagated)
        advanced = self._env[~leave], self.exit[~leave]
        self.waiting[advanced] = self._written[advanced] = 0
        above = leave[:, None] & (np.arange(len(self._segments)) >= self.exit[:, None])
        self.waiting += above
        self._written += above & (self.token > 0)[:, None]
        done = leave | at_end
        self.exit = np.where(done, 0, self.exit + 1)
        self.token += done
        return reward, self._next(done)

    def _next(self, done: np.ndarray) -> Any:
        """Go on to the next token, request or episode; returns whose episode ended."""
        finished = done & (self.token == self.typing.length[self._env, self.request])
        rejected = finished & ~self.typing.accepted[self._env, self.request]
        self.waiting[rejected] -= self._written[rejected]
        self._written[finished] = 0
        self._exact[done], self._propagated[done] = 1, 0
        self.served += finished
        self.request = (self.request + finished) % self._requests
        self.token[finished] = 0
        self._start_requests(finished)
        return finished & (self.request % REQUESTS == 0)

    def _start_requests(self, which: np.ndarray) -> None:
        """New prompt tokens arrive; the first decision is at the last of them."""
        arrives = self.typing.arrives[self._env, self.request]
        everything = self._prefill_exit == self.rollouts.layers
        exact = arrives if everything else np.minimum(arrives, EXACT_TAIL)
        self.waiting[which & self.typing.cold[self._env, self.request]] = 0
        self.waiting[which] += exact[which, None] - 1
        self._exact[which], self._propagated[which] = exact[which], (arrives - exact)[which]
