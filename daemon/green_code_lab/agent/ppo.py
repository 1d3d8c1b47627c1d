"""PPO for the exit agent, in one file (Schulman et al., arXiv 1707.06347).

Details, each number repeated at its line:
  1. vectorised replay: (steps, environments) tensors      2. orthogonal initialisation, gain by head
  3. generalised advantages, backwards; an episode's end is terminal, a cut rollout is bootstrapped
  4. advantages normalised a minibatch                     5. clipped policy objective
  6. values in units of a window's rewards, unclipped      7. entropy bonus
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
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from green_code.decoding.exit_classifier import BESIDE, EXIT, HIDDEN_UNITS, ExitClassifier
from green_code_lab.agent.monitors import Monitor
from green_code_lab.agent.rollouts import Rollouts


class Environment(Protocol):
    """`count` episodes side by side."""

    rollouts: Rollouts
    count: int

    def observe(self) -> tuple[Tensor, Tensor]:
        """(count, C + BESIDE) features and (count,) exit index."""

    def left(self) -> Any:
        """(count,) share of the episode that is left, 1 … 0."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rewards (count,) and whether the episode ended; the next one has then started."""


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
    kl_limit: float = 0.03
    critic_alone: int = 5  # updates, where the actor continues from a fitted network
    seed: int = 420


def advantages(
    rewards: Tensor, values: Tensor, ended: Tensor, last_value: Tensor, discount: float, lam: float
) -> Tensor:
    """Generalised advantage estimates (Schulman et al., arXiv 1506.02438, eq. 16).

    Args:
        rewards, values, ended: (steps, environments); `ended[t]`: step t closed its episode.
        last_value: (environments,) value of the state after the last step.
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
    start: ExitClassifier | None = None,
    report: Callable[[str], None] = print,
) -> ActorCritic:
    """Train an agent on replayed rollouts.

    Args:
        log: gets a JSON line an update, after the arguments. start: actor to continue from.
    Raises:
        Problem: a monitor stopped the run.
    """
    a = arguments
    torch.manual_seed(a.seed)
    width, exits = environment.rollouts.states.shape[2], environment.rollouts.exits
    agent = ActorCritic(width, exits)
    if start is not None:
        agent.actor.load_state_dict(start.state_dict())
    optimiser = torch.optim.Adam(agent.parameters(), lr=a.learning_rate, eps=1e-5)
    monitor, scale = Monitor(len(exits), a.kl_limit), 0.0
    running, mean_return = torch.zeros(environment.count), 0.0
    log.write_text(json.dumps(asdict(a)) + "\n")
    for update in range(a.updates):
        optimiser.param_groups[0]["lr"] = a.learning_rate * (1 - update / a.updates)  # 9.
        replayed = _replay(environment, agent, a, width)
        finished = _returns(running, replayed)
        mean_return = finished.mean().item() if len(finished) else mean_return
        scale = scale or max(1e-6, replayed.rewards.abs().sum(0).mean().item())  # 6.
        gains = advantages(
            replayed.rewards / scale,
            replayed.values,
            replayed.ended,
            replayed.last_value,
            a.discount,
            a.gae_lambda,
        )
        figures = _update(agent, optimiser, replayed, gains, a, start is None or update >= a.critic_alone)
        left_at = np.bincount(replayed.exits[replayed.actions == EXIT].numpy(), minlength=len(exits))
        row = {"update": update, "return": mean_return, "exits": left_at.tolist(), **figures}
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
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


class _Replayed:
    """(steps, environments) of features, actions and rewards."""  # 1.

    def __init__(self, steps: int, environments: int, width: int) -> None:
        shape = (steps, environments)
        self.features = torch.zeros(*shape, width + BESIDE)
        self.left = torch.zeros(shape)
        self.exits, self.actions = (torch.zeros(shape, dtype=torch.long) for _ in range(2))
        self.log_probabilities, self.rewards, self.ended, self.values = (torch.zeros(shape) for _ in range(4))
        self.last_value = torch.zeros(environments)


def _returns(running: Tensor, replayed: _Replayed) -> Tensor:
    """Returns of the episodes that ended; `running`, (environments,), has those that go on, and is updated."""
    finished = []
    for reward, end in zip(replayed.rewards, replayed.ended.bool(), strict=True):
        running += reward
        finished.append(running[end])
        running *= ~end
    return torch.cat(finished)


@torch.no_grad()
def _replay(environment: Environment, agent: ActorCritic, arguments: Arguments, width: int) -> _Replayed:
    r = _Replayed(arguments.steps, environment.count, width)
    for t in range(arguments.steps):
        r.features[t], r.exits[t] = environment.observe()
        r.left[t] = torch.from_numpy(environment.left())
        choice = Categorical(logits=agent.actor(r.features[t], r.exits[t]))
        r.actions[t] = choice.sample()  # type: ignore[no-untyped-call]
        r.log_probabilities[t] = choice.log_prob(r.actions[t])  # type: ignore[no-untyped-call]
        r.values[t] = agent.value(r.features[t], r.exits[t], r.left[t])  # 11.
        reward, end = environment.step(r.actions[t].numpy())
        r.rewards[t], r.ended[t] = torch.from_numpy(reward).float(), torch.from_numpy(end).float()
    r.last_value = agent.value(*environment.observe(), torch.from_numpy(environment.left()).float())
    return r


def _update(
    agent: ActorCritic,
    optimiser: torch.optim.Optimizer,
    replayed: _Replayed,
    gains: Tensor,
    arguments: Arguments,
    train_actor: bool,
) -> dict[str, float]:
    r, a = replayed, arguments
    batch = (r.features, r.exits, r.left, r.actions, r.log_probabilities, gains, gains + r.values)
    features, exits, left, actions, old_log, gains, returns = (x.flatten(0, 1) for x in batch)
    size = len(gains) // a.minibatches
    kl = entropy = policy_loss = value_loss = torch.tensor(0.0)
    for _ in range(a.epochs):
        order = torch.randperm(len(gains))
        for at in range(0, len(gains), size):
            pick = order[at : at + size]
            choice = Categorical(logits=agent.actor(features[pick], exits[pick]))
            log_ratio = choice.log_prob(actions[pick]) - old_log[pick]  # type: ignore[no-untyped-call]
            ratio = log_ratio.exp()
            kl = (ratio - 1 - log_ratio).mean().detach()  # Schulman's low-variance estimate
            if kl > a.kl_limit:  # 10.
                break
            gain = gains[pick]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)  # 4.
            clipped = ratio.clamp(1 - a.clip, 1 + a.clip)
            policy_loss = -torch.min(gain * ratio, gain * clipped).mean()  # 5.
            values = agent.value(features[pick], exits[pick], left[pick])
            value_loss = (values - returns[pick]).pow(2).mean() / 2
            entropy = choice.entropy().mean()  # type: ignore[no-untyped-call]
            loss = train_actor * (policy_loss - a.entropy * entropy) + value_loss  # 7.
            if not torch.isfinite(loss):  # the monitor then stops the run
                return dict.fromkeys(("kl", "entropy", "policy_loss", "value_loss"), math.nan)
            optimiser.zero_grad()
            loss.backward()
            for part in (agent.actor, agent.critic):  # 8.
                torch.nn.utils.clip_grad_norm_(part.parameters(), a.gradient_clip)
            optimiser.step()
        if kl > a.kl_limit:
            break
    figures = {"kl": kl, "entropy": entropy, "policy_loss": policy_loss, "value_loss": value_loss}
    return {name: value.item() for name, value in figures.items()}
