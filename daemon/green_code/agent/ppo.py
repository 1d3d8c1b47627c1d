"""PPO for the exit agent, in one file (Schulman et al., arXiv 1707.06347).

Details, each number repeated at its line:
  1. vectorised replay: (steps, environments) tensors      2. orthogonal initialisation, gain by head (network.py)
  3. generalised advantages, backwards; an episode's end is terminal, a cut rollout is bootstrapped
  4. advantages normalised a minibatch                     5. clipped policy objective
  6. clipped value loss                                    7. entropy bonus
  8. global gradient clipping                              9. linear annealing of the rate
 10. updates of a rollout end early when KL passes its limit
Departures from the usual: D1 rewards are costs in full-depth tokens and γ = 1, as episodes are short.
D2 one network for all exits.

Monitors: a run whose loss is not finite stops with that reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical

from green_code.agent.environment import ExitEnvironment
from green_code.agent.network import ActorCritic
from green_code.problems import Problem


@dataclass(frozen=True)
class Arguments:
    """Everything that shapes a run."""

    environments: int = 128
    episode_tokens: int = 16
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
    value_share: float = 0.5
    gradient_clip: float = 0.5
    kl_limit: float = 0.03
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
    environment: ExitEnvironment,
    width: int,
    arguments: Arguments,
    log: Path,
    report: Callable[[str], None] = print,
) -> ActorCritic:
    """Train an agent on replayed rollouts.

    Raises:
        Problem: the loss stopped being finite.
    """
    torch.manual_seed(arguments.seed)
    agent = ActorCritic(width, environment.rollouts.exits)
    optimiser = torch.optim.Adam(agent.parameters(), lr=arguments.learning_rate, eps=1e-5)
    shape = (arguments.steps, arguments.environments)
    log.write_text(json.dumps(asdict(arguments)) + "\n")
    for update in range(arguments.updates):
        optimiser.param_groups[0]["lr"] = arguments.learning_rate * (1 - update / arguments.updates)  # 9.
        seen = torch.zeros(*shape, width + 1)  # 1.
        exits, actions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        log_probabilities, rewards, ended, values = (torch.zeros(shape) for _ in range(4))
        with torch.no_grad():
            for t in range(arguments.steps):
                seen[t], exits[t] = environment.observe()
                choice = Categorical(logits=agent.actor(seen[t], exits[t]))
                actions[t] = choice.sample()  # type: ignore[no-untyped-call]
                log_probabilities[t] = choice.log_prob(actions[t])  # type: ignore[no-untyped-call]
                values[t] = agent.value(seen[t], exits[t])
                reward, end = environment.step(actions[t].numpy())
                rewards[t], ended[t] = torch.from_numpy(reward).float(), torch.from_numpy(end).float()
            last_value = agent.value(*environment.observe())
        gains = advantages(rewards, values, ended, last_value, arguments.discount, arguments.gae_lambda)
        returns = gains + values
        batch = tuple(
            x.flatten(0, 1) for x in (seen, exits, actions, log_probabilities, gains, returns, values)
        )
        figures = _update(agent, optimiser, batch, arguments)
        episodes = max(1.0, ended.sum().item())
        row = {
            "update": update,
            "return": rewards.sum().item() / episodes,
            "exits": np.bincount(exits[actions == 1].numpy(), minlength=len(agent.actor.exits)).tolist(),
            **figures,
        }
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if update % 10 == 9:
            report(
                f"update {update + 1}/{arguments.updates}  return {row['return']:.3f} tokens  entropy {figures['entropy']:.3f}  KL {figures['kl']:.4f}"
            )
    return agent.requires_grad_(False)


def _update(
    agent: ActorCritic, optimiser: torch.optim.Optimizer, batch: tuple[Tensor, ...], arguments: Arguments
) -> dict[str, float]:
    seen, exits, actions, old_log, gains, returns, old_values = batch
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
            value = agent.value(seen[pick], exits[pick])
            kept = old_values[pick] + (value - old_values[pick]).clamp(-arguments.clip, arguments.clip)
            value_loss = (
                0.5 * torch.max((value - returns[pick]) ** 2, (kept - returns[pick]) ** 2).mean()
            )  # 6.
            entropy = choice.entropy().mean()  # type: ignore[no-untyped-call]
            loss = policy_loss + arguments.value_share * value_loss - arguments.entropy * entropy  # 7.
            if not torch.isfinite(loss):
                raise Problem(
                    "internal_error",
                    f"PPO's loss is {loss.item()}; lower the learning rate ({arguments.learning_rate}).",
                )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(agent.parameters(), arguments.gradient_clip)  # 8.
            optimiser.step()
        if kl > arguments.kl_limit:
            break
    return {
        "kl": kl.item(),
        "entropy": entropy.item(),
        "policy_loss": policy_loss.item(),
        "value_loss": value_loss.item(),
    }
