"""PPO for the exit agent, in one file (Schulman et al., arXiv 1707.06347).

Details, each number repeated at its line:
  1. vectorised replay: (steps, environments) tensors      2. orthogonal initialisation, gain by head (network.py)
  3. generalised advantages, backwards; an episode's end is terminal, a cut rollout is bootstrapped
  4. advantages normalised a minibatch                     5. clipped policy objective
  6. values in units of a window's rewards, unclipped      7. entropy bonus
  8. gradients clipped, actor and critic apart             9. linear annealing of the rate
 10. updates of a rollout end early when KL passes its limit
 11. the critic alone sees how much of the episode is left
Departures from the usual: D1 γ = 1, as rewards are costs and an episode is one stretch. D2 one network for all exits.
D3 training may go on from a network that was fitted by supervision; the critic then learns alone at first.

Monitors end a run that has failed, with the reason: see `monitors.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical

from green_code.decoding.exit_classifier import BESIDE, ExitClassifier
from green_code_lab.agent.monitors import Monitor
from green_code_lab.agent.network import ActorCritic
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
        """Rewards (count,) and whether the episode ended; it has then begun anew."""


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
    # High: P(exit) then grades how sure the agent is, and that is what the threshold reads.
    entropy: float = 0.06
    gradient_clip: float = 0.5
    kl_limit: float = 0.03
    critic_alone: int = 5  # updates, where the actor begins from a fitted network
    seed: int = 420


def advantages(
    rewards: Tensor, values: Tensor, ended: Tensor, last_value: Tensor, discount: float, lam: float
) -> Tensor:
    """Generalised advantage estimates (Schulman et al., arXiv 1506.02438, eq. 16).

    Args:
        rewards, values, ended: (steps, environments); `ended[t]` says that step t closed its episode.
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
    begin: ExitClassifier | None = None,
    report: Callable[[str], None] = print,
) -> ActorCritic:
    """Train an agent on replayed rollouts.

    Args:
        log: gets a JSON line an update, the arguments first. begin: weights of the actor to go on from.
    Raises:
        Problem: a monitor found that the run has failed.
    """
    torch.manual_seed(arguments.seed)
    width = environment.rollouts.states.shape[2]
    agent = ActorCritic(width, environment.rollouts.exits)
    if begin is not None:
        agent.actor.load_state_dict(begin.state_dict())
    optimiser = torch.optim.Adam(agent.parameters(), lr=arguments.learning_rate, eps=1e-5)
    monitor, scale = Monitor(len(environment.rollouts.exits), arguments.kl_limit), 0.0
    returns = _Returns(environment.count)
    log.write_text(json.dumps(asdict(arguments)) + "\n")
    for update in range(arguments.updates):
        optimiser.param_groups[0]["lr"] = arguments.learning_rate * (1 - update / arguments.updates)  # 9.
        replayed = _replay(environment, agent, arguments, width)
        mean_return = returns.follow(replayed.rewards, replayed.ended)
        scale = scale or max(1e-6, replayed.rewards.abs().sum(0).mean().item())  # 6.
        gains = advantages(
            replayed.rewards / scale,
            replayed.values,
            replayed.ended,
            replayed.last_value,
            arguments.discount,
            arguments.gae_lambda,
        )
        actor_learns = begin is None or update >= arguments.critic_alone
        figures = _update(agent, optimiser, replayed, gains, arguments, actor_learns)
        exits = np.bincount(
            replayed.exits[replayed.actions == 1].numpy(), minlength=len(environment.rollouts.exits)
        )
        row = {"update": update, "return": mean_return, "exits": exits.tolist(), **figures}
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        monitor.check(row["return"], exits, int((replayed.exits == 0).sum()), figures)
        if update % 10 == 9:
            report(
                f"PPO {update + 1}/{arguments.updates}  return {row['return']:.3f}  entropy {figures['entropy']:.3f}  KL {figures['kl']:.4f}"
            )
    return agent.requires_grad_(False)


class _Replayed:
    """(steps, environments) of what was seen, done and got."""  # 1.

    def __init__(self, steps: int, environments: int, width: int) -> None:
        shape = (steps, environments)
        self.seen = torch.zeros(*shape, width + BESIDE)
        self.left = torch.zeros(shape)
        self.exits, self.actions = (torch.zeros(shape, dtype=torch.long) for _ in range(2))
        self.log_probabilities, self.rewards, self.ended, self.values = (torch.zeros(shape) for _ in range(4))
        self.last_value = torch.zeros(environments)


class _Returns:
    """Returns of episodes, which need not end in the window in which they began."""

    def __init__(self, environments: int) -> None:
        self._running, self._latest = torch.zeros(environments), 0.0

    def follow(self, rewards: Tensor, ended: Tensor) -> float:
        """Mean over the episodes that ended in this window; where none did, the last that is known."""
        finished = []
        for reward, end in zip(rewards, ended.bool(), strict=True):
            self._running += reward
            finished.append(self._running[end])
            self._running = self._running * ~end
        found = torch.cat(finished)
        self._latest = found.mean().item() if len(found) else self._latest
        return self._latest


@torch.no_grad()
def _replay(environment: Environment, agent: ActorCritic, arguments: Arguments, width: int) -> _Replayed:
    seen = _Replayed(arguments.steps, environment.count, width)
    for t in range(arguments.steps):
        seen.seen[t], seen.exits[t] = environment.observe()
        seen.left[t] = torch.from_numpy(environment.left())
        choice = Categorical(logits=agent.actor(seen.seen[t], seen.exits[t]))
        seen.actions[t] = choice.sample()  # type: ignore[no-untyped-call]
        seen.log_probabilities[t] = choice.log_prob(seen.actions[t])  # type: ignore[no-untyped-call]
        seen.values[t] = agent.value(seen.seen[t], seen.exits[t], seen.left[t])  # 11.
        reward, end = environment.step(seen.actions[t].numpy())
        seen.rewards[t], seen.ended[t] = torch.from_numpy(reward).float(), torch.from_numpy(end).float()
    seen.last_value = agent.value(*environment.observe(), torch.from_numpy(environment.left()).float())
    return seen


def _update(
    agent: ActorCritic,
    optimiser: torch.optim.Optimizer,
    replayed: _Replayed,
    gains: Tensor,
    arguments: Arguments,
    actor_learns: bool,
) -> dict[str, float]:
    batch = (replayed.seen, replayed.exits, replayed.left, replayed.actions, replayed.log_probabilities, gains, gains + replayed.values)  # fmt: skip
    seen, exits, left, actions, old_log, gains, returns = (x.flatten(0, 1) for x in batch)
    size = len(gains) // arguments.minibatches
    kl = entropy = policy_loss = value_loss = torch.tensor(0.0)
    for _ in range(arguments.epochs):
        order = torch.randperm(len(gains))
        for start in range(0, len(gains), size):
            pick = order[start : start + size]
            choice = Categorical(logits=agent.actor(seen[pick], exits[pick]))
            log_ratio = choice.log_prob(actions[pick]) - old_log[pick]  # type: ignore[no-untyped-call]
            ratio = log_ratio.exp()
            kl = (ratio - 1 - log_ratio).mean().detach()  # Schulman's low-variance estimate
            if kl > arguments.kl_limit:  # 10.
                break
            gain = gains[pick]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)  # 4.
            policy_loss = -torch.min(
                gain * ratio, gain * ratio.clamp(1 - arguments.clip, 1 + arguments.clip)
            ).mean()  # 5.
            value_loss = (agent.value(seen[pick], exits[pick], left[pick]) - returns[pick]).pow(2).mean() / 2
            entropy = choice.entropy().mean()  # type: ignore[no-untyped-call]
            loss = actor_learns * (policy_loss - arguments.entropy * entropy) + value_loss  # 7.
            if not torch.isfinite(loss):  # nothing is learned from it; the monitor will say so
                return dict.fromkeys(("kl", "entropy", "policy_loss", "value_loss"), math.nan)
            optimiser.zero_grad()
            loss.backward()
            for part in (agent.actor, agent.critic):  # 8.
                torch.nn.utils.clip_grad_norm_(part.parameters(), arguments.gradient_clip)
            optimiser.step()
        if kl > arguments.kl_limit:
            break
    return {
        "kl": kl.item(),
        "entropy": entropy.item(),
        "policy_loss": policy_loss.item(),
        "value_loss": value_loss.item(),
    }
