"""PPO for the exit agent, in one file (Schulman et al., arXiv 1707.06347).

Details, each number repeated at its line:
  1. vectorised replay: (steps, environments) tensors      2. orthogonal initialisation, gain by head
  3. generalised advantages, backwards; an episode's end is terminal, a cut rollout is bootstrapped
  4. advantages normalised a minibatch                     5. clipped policy objective
  6. values in units of `value_unit`, unclipped            7. entropy bonus
  8. gradients clipped, actor and critic apart             9. linear annealing of the rate
 10. updates of a rollout end early when KL passes its limit
 11. only the critic's input has how much of the episode is left
Departures from the usual: D1 γ = 1, as rewards are costs. D2 one network for all exits. D3 training may continue from a
network that was fitted by supervision; the critic then trains alone at first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from green_code.decoding.exit_classifier import EXIT, HIDDEN_UNITS
from green_code.kernels.binding import EXTRA_FEATURES
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.monitors import Monitor
from green_code_lab.agent.networks import Actor, ExitModule
from green_code_lab.agent.paper_environment import PaperEnvironment

Environment = ExitEnvironment | PaperEnvironment


@dataclass(frozen=True)
class Arguments:
    """Everything that shapes a run."""

    environments: int = 128
    steps: int = 128  # per environment and update
    updates: int = 60
    minibatches: int = 8
    epochs: int = 6
    learning_rate: float = 1e-3
    discount: float = 1.0
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.06  # high, so that P(exit) grades confidence for the threshold
    gradient_clip: float = 0.5
    kl_limit: float | None = 0.03  # None: nothing ends a rollout's updates early, or the run
    value_unit: float | None = None  # in rewards; None: the first window's sum
    critic_alone: int = 5  # updates, where the actor continues from a fitted network
    seed: int = 420


PAPER = Arguments(
    environments=16, steps=256, updates=123, minibatches=8, epochs=6, learning_rate=5e-5, discount=0.99, gae_lambda=0.95, clip=0.2,
    entropy=0.0, gradient_clip=0.5, kl_limit=None, value_unit=1.0, critic_alone=0,
)  # fmt: skip
"""GREEN-CODE's (arXiv 2501.11006, its repository's README, and defaults of Stable-Baselines3): 500,000 steps, 4,096 a rollout. They are
of 16 environments rather than of one, for speed: episodes are far shorter than a rollout, so little changes. Details 8 and 11 are
ours here, too, and the critic has one layer."""


def advantages(
    rewards: Tensor, values: Tensor, ended: Tensor, last_value: Tensor, discount: float, lam: float
) -> Tensor:
    """Generalised advantage estimates (Schulman et al., arXiv 1506.02438, eq. 16), (steps, environments) as the arguments.

    `ended[t]`: step t closed its episode. `last_value`: (environments,), of the state after the last step.
    """
    result = torch.zeros_like(rewards)
    carried = torch.zeros_like(last_value)
    following = last_value
    for t in reversed(range(len(rewards))):  # 3.
        alive = 1.0 - ended[t]
        error = rewards[t] + discount * following * alive - values[t]
        carried = error + discount * lam * alive * carried
        result[t] = carried
        following = values[t]
    return result


def train(
    environment: Environment,
    arguments: Arguments,
    log: Path,
    start: ExitModule | None = None,
    report: Callable[[str], None] = print,
    network: type[Actor] = ExitModule,
) -> ActorCritic:
    """Train an agent, from `start` if given. `log` gets the arguments, then a JSON line an update. `network`: the actor's class.

    Raises Problem where a monitor stopped the run.
    """
    a = arguments
    torch.manual_seed(a.seed)
    exits = environment.rollouts.exits
    agent = ActorCritic(environment.rollouts.states.shape[2], exits, network)
    if start is not None:
        agent.actor.load_state_dict(start.state_dict())
    optimiser = torch.optim.Adam(agent.parameters(), lr=a.learning_rate, eps=1e-5)
    monitor = Monitor(len(exits), a.kl_limit) if a.kl_limit is not None else None
    scale = a.value_unit
    running, mean_return = torch.zeros(environment.count), 0.0
    log.write_text(json.dumps(asdict(a)) + "\n")
    for update in range(a.updates):
        optimiser.param_groups[0]["lr"] = a.learning_rate * (1 - update / a.updates)  # 9.
        replayed, last_value = _replay(environment, agent, a.steps)
        finished = _returns(running, replayed)
        mean_return = finished.mean().item() if len(finished) else mean_return
        if scale is None:  # 6.
            scale = max(1e-6, replayed.rewards.abs().sum(0).mean().item())
        gains = advantages(
            replayed.rewards / scale, replayed.values, replayed.ended, last_value, a.discount, a.gae_lambda
        )
        figures = _update(agent, optimiser, replayed, gains, a, start is None or update >= a.critic_alone)
        left_at = np.bincount(replayed.exits[replayed.actions == EXIT].numpy(), minlength=len(exits))
        row = {"update": update, "return": mean_return, "exits": left_at.tolist(), **figures}
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if monitor is not None:
            monitor.check(mean_return, left_at, int((replayed.exits == 0).sum()), figures)
        if update % 10 == 9:
            report(
                f"PPO {update + 1}/{a.updates}  return {mean_return:.3f}  entropy {figures['entropy']:.3f}  KL {figures['kl']:.4f}"
            )
    return agent.requires_grad_(False)


def _orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class Critic(nn.Module):
    """Its input is the actor's and how much of the episode is left."""

    def __init__(self, width: int, exits: Sequence[int]) -> None:
        super().__init__()
        self.inner = _orthogonal(nn.Linear(width + EXTRA_FEATURES + 1, HIDDEN_UNITS), np.sqrt(2))
        self.exit_bias = nn.Embedding(len(exits), HIDDEN_UNITS)
        nn.init.zeros_(self.exit_bias.weight)
        self.out = _orthogonal(nn.Linear(HIDDEN_UNITS, 1), 1.0)

    def forward(self, features: Tensor, exit_index: Tensor, left: Tensor) -> Tensor:
        x = torch.cat((features, left[..., None]), -1)
        inner = torch.tanh(self.inner(x) + self.exit_bias(exit_index))
        return self.out(inner).squeeze(-1)  # type: ignore[no-any-return]


class ActorCritic(nn.Module):
    """Separate networks for policy and value, as in the paper (SB3's MlpPolicy)."""

    def __init__(self, width: int, exits: Sequence[int], network: type[Actor]) -> None:
        super().__init__()
        self.actor = network(width, exits)
        *inner, last = (layer for layer in self.actor.modules() if isinstance(layer, nn.Linear))
        for layer in inner:
            _orthogonal(layer, np.sqrt(2))
        _orthogonal(last, 0.01)
        if isinstance(self.actor, ExitModule):
            nn.init.zeros_(self.actor.exit_bias.weight)
        self.critic = Critic(width, exits)


class _Replayed(NamedTuple):
    """(steps, environments) each."""  # 1.

    features: Tensor
    exits: Tensor
    left: Tensor
    actions: Tensor
    log_probabilities: Tensor
    values: Tensor
    rewards: Tensor
    ended: Tensor


def _returns(running: Tensor, replayed: _Replayed) -> Tensor:
    """Returns of the episodes that ended; `running`, (environments,), has those that go on, and is updated."""
    finished = []
    for reward, end in zip(replayed.rewards, replayed.ended.bool(), strict=True):
        running += reward
        finished.append(running[end])
        running *= ~end
    return torch.cat(finished)


@torch.no_grad()
def _replay(environment: Environment, agent: ActorCritic, steps: int) -> tuple[_Replayed, Tensor]:
    """What happened, and the (environments,) value of the state after."""
    happened = []
    for _ in range(steps):
        features, exits = environment.observe()
        left = torch.from_numpy(environment.left()).float()
        choice = Categorical(logits=agent.actor(features, exits))
        action = choice.sample()  # type: ignore[no-untyped-call]
        log_probability = choice.log_prob(action)  # type: ignore[no-untyped-call]
        value = agent.critic(features, exits, left)  # 11.
        reward, ended = (torch.from_numpy(x).float() for x in environment.step(action.numpy()))
        happened.append((features, exits, left, action, log_probability, value, reward, ended))
    last = agent.critic(*environment.observe(), torch.from_numpy(environment.left()).float())
    return _Replayed(*map(torch.stack, zip(*happened, strict=True))), last


def _update(
    agent: ActorCritic,
    optimiser: torch.optim.Optimizer,
    replayed: _Replayed,
    gains: Tensor,
    arguments: Arguments,
    train_actor: bool,
) -> dict[str, float]:
    r, a = replayed, arguments
    features, exits, left, actions, old_log, values, *_ = (x.flatten(0, 1) for x in r)
    gains = gains.flatten(0, 1)
    returns = gains + values
    size = len(gains) // a.minibatches
    kl_limit = math.inf if a.kl_limit is None else a.kl_limit
    kl = entropy = policy_loss = value_loss = torch.tensor(0.0)
    for _ in range(a.epochs):
        order = torch.randperm(len(gains))
        for at in range(0, len(gains), size):
            pick = order[at : at + size]
            choice = Categorical(logits=agent.actor(features[pick], exits[pick]))
            log_ratio = choice.log_prob(actions[pick]) - old_log[pick]  # type: ignore[no-untyped-call]
            ratio = log_ratio.exp()
            kl = (ratio - 1 - log_ratio).mean().detach()  # Schulman's low-variance estimate
            if kl > kl_limit:  # 10.
                break
            gain = gains[pick]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)  # 4.
            clipped = ratio.clamp(1 - a.clip, 1 + a.clip)
            policy_loss = -torch.min(gain * ratio, gain * clipped).mean()  # 5.
            value = agent.critic(features[pick], exits[pick], left[pick])
            value_loss = (value - returns[pick]).pow(2).mean() / 2
            entropy = choice.entropy().mean()  # type: ignore[no-untyped-call]
            loss = train_actor * (policy_loss - a.entropy * entropy) + value_loss  # 7.
            if not torch.isfinite(loss):  # the monitor then stops the run
                return dict.fromkeys(("kl", "entropy", "policy_loss", "value_loss"), math.nan)
            optimiser.zero_grad()
            loss.backward()
            for part in (agent.actor, agent.critic):  # 8.
                torch.nn.utils.clip_grad_norm_(part.parameters(), a.gradient_clip)
            optimiser.step()
        if kl > kl_limit:
            break
    figures = {"kl": kl, "entropy": entropy, "policy_loss": policy_loss, "value_loss": value_loss}
    return {name: value.item() for name, value in figures.items()}
