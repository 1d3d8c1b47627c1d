"""PPO for the stop agent (Schulman et al., arXiv 1707.06347), from the supervised one, on replayed typing itself.

A decision at a token is to emit it or to stop. In each update the policy draws all its decisions; typing is replayed with them, and what
a suggestion brought is the return of the decisions that made it:

    G = accepted keys − wrong · rejected − energy · joules still to be spent + discount · G of the next request.

What is shown changes what is asked next: that is in the replay.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from green_code.decoding.stop_network import TOKEN_FEATURES
from green_code_lab.agent.baselines import sigmoid
from green_code_lab.agent.networks import StopModule
from green_code_lab.agent.stops import token_inputs
from green_code_lab.replay.environment import Replayer, Shown
from green_code_lab.replay.objective import Prices
from green_code_lab.replay.policies import counted, shown_by
from green_code_lab.replay.typist import type_span


@dataclass(frozen=True)
class Arguments:
    """Everything that shapes a run. `sharpness`: of the stochastic policy around the bounds."""

    updates: int = 20
    spans: int = 48  # replayed in each
    epochs: int = 4
    batch: int = 1024
    rate: float = 3e-4
    clip: float = 0.2
    entropy: float = 0.003
    discount: float = 0.8
    sharpness: float = 3.0
    stop: float = 0.45  # the bound around which it explores
    seed: int = 0


class _Taken:
    """Decisions: inputs, actions (1: go on) and returns."""

    def __init__(self) -> None:
        self.inputs, self.actions = list[np.ndarray](), list[bool]()
        self.returns = list[float]()

    def add(self, inputs: np.ndarray, action: bool, value: float) -> None:
        self.inputs.append(inputs)
        self.actions.append(action)
        self.returns.append(value)


def train(
    replayer: Replayer,
    start: StopModule,
    prices: Prices,
    arguments: Arguments = Arguments(),
    report: Callable[[str], None] = print,
) -> StopModule:
    """A network that is fitted to the bound of the arguments."""
    a, records = arguments, replayer.records
    torch.manual_seed(a.seed)
    generator, drawing = random.Random(a.seed), np.random.default_rng(a.seed)
    network = copy.deepcopy(start).requires_grad_(True)
    tokens = token_inputs(replayer)
    bound, critic = float(np.log(a.stop / (1 - a.stop))), _critic()
    optimiser = torch.optim.Adam([*network.parameters(), *critic.parameters()], lr=a.rate)
    which = counted(records)
    for update in range(a.updates):
        with torch.no_grad():
            log_odds = network(torch.from_numpy(tokens))[:, 0].numpy()
        emits = drawing.random(len(tokens)) < sigmoid(a.sharpness * (log_odds - bound))
        estimate = np.where(emits | ~which, np.maximum(sigmoid(log_odds), a.stop), 0.0)
        shown = shown_by(replayer, estimate, a.stop)
        taken, total = _Taken(), 0.0
        for span in generator.choices(range(len(records.spans)), k=a.spans):
            total += _replay(replayer, span, shown, prices, a, tokens, emits, taken, update)
        loss = _update(network, critic, bound, taken, optimiser, a)
        report(f"PPO {update + 1}/{a.updates}  objective {total / a.spans:.2f} keys a span  loss {loss}")
    return network.requires_grad_(False).eval()


def _replay(
    replayer: Replayer, span: int, shown: Shown, prices: Prices, a: Arguments, tokens: np.ndarray, emits: np.ndarray,
    taken: _Taken, seed: int,
) -> float:  # fmt: skip
    """Type a span; its decisions go to `taken`. Returns the span's objective."""
    records, suggester = replayer.records, replayer.suggester(span, shown)
    typed = type_span(records.spans[span], suggester, seed=seed)
    outcome = {replayer.first(span) + cursor: (accepted, rejected) for cursor, accepted, rejected in typed.outcomes}
    value, total = 0.0, 0.0
    for (row, _, _), joules in zip(reversed(suggester.asked), reversed(suggester.joules), strict=True):
        accepted, rejected = outcome.get(row, (0, False))
        reward = accepted - prices.wrong * rejected
        own = reward - prices.energy * joules
        later = a.discount * value
        start, passes = int(records.starts[row]), int(shown.passes[row])
        for j in range(start, min(start + passes, int(records.starts[row + 1]))):
            if records.characters[j]:
                left = joules * (1 - (j - start + 1) / max(1, passes))
                taken.add(tokens[j], bool(emits[j]), reward - prices.energy * left + later)
        value = own + later
        total += own
    return total


def _update(
    network: nn.Module, critic: nn.Module, bound: float, taken: _Taken, optimiser: torch.optim.Optimizer, a: Arguments
) -> float:
    """Clipped objective over one update's decisions; returns the critic's last loss."""
    if not taken.inputs:
        return 0.0
    inputs, returns = torch.from_numpy(np.array(taken.inputs, np.float32)), torch.tensor(taken.returns)
    actions = torch.tensor(taken.actions)

    def log_probability(pick: Tensor) -> tuple[Tensor, Tensor]:
        choice = torch.distributions.Bernoulli(logits=a.sharpness * (network(inputs[pick])[:, 0] - bound))
        return choice.log_prob(actions[pick].float()), choice.entropy()  # type: ignore[no-untyped-call]

    with torch.no_grad():
        everything = torch.arange(len(inputs))
        old, values = log_probability(everything)[0], critic(inputs)[:, 0]
    gains = returns - values
    gains = (gains - gains.mean()) / (gains.std() + 1e-6)
    loss_of_critic = torch.tensor(0.0)
    for _ in range(a.epochs):
        for pick in torch.split(torch.randperm(len(inputs)), a.batch):
            new, entropy = log_probability(pick)
            ratio = (new - old[pick]).exp()
            clipped = ratio.clamp(1 - a.clip, 1 + a.clip)
            policy = -torch.min(ratio * gains[pick], clipped * gains[pick]).mean() - a.entropy * entropy.mean()
            loss_of_critic = mse_loss(critic(inputs[pick])[:, 0], returns[pick])
            optimiser.zero_grad()
            (policy + 0.1 * loss_of_critic).backward()
            nn.utils.clip_grad_norm_([*network.parameters(), *critic.parameters()], 1.0)
            optimiser.step()
    return round(loss_of_critic.item(), 2)


def _critic() -> nn.Sequential:
    """Of the network's inputs."""
    return nn.Sequential(nn.Linear(TOKEN_FEATURES, 32), nn.Tanh(), nn.Linear(32, 1))
