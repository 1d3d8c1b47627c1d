"""The exit agent by supervision: replayed rollouts give the cost of every choice, so no exploration is needed.

For one token, with exits i = 1 … X and P(exit) πᵢ, the expected cost from exit i on is, backwards,

    Vᵢ = πᵢ (error · errorsᵢ + own) + (1 − πᵢ) (advanceᵢ + Vᵢ₊₁) − temperature · H(πᵢ) + head + decision,   V past the last = head

and the mean V₁ over tokens is minimised by Adam. The optimum is
πᵢ = σ((advanceᵢ + E[Vᵢ₊₁] − E[error · errorsᵢ + own]) / temperature), backward induction softened by the entropy, so a
threshold on P(exit) demands a certain advantage of leaving.

Tokens are coupled by the pending work. A share `carried` of what waiting positions cost is charged to the token that goes
deeper; the rest is charged to each token that leaves, as `own`, for what its position will add to a later batch. A larger
share saves more on cold prompts and less while typing. Which positions wait is drawn by replaying typing with the network.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import dropout, logsigmoid

from green_code.decoding.exit_classifier import CONTINUE, EXIT
from green_code.kernels.binding import EXTRA_FEATURES
from green_code_lab.agent.environment import ExitEnvironment
from green_code_lab.agent.episodes import draw_typing
from green_code_lab.agent.networks import ExitModule, features
from green_code_lab.agent.prices import TokenPrices
from green_code_lab.agent.rollouts import Rollouts


@dataclass(frozen=True)
class Arguments:
    """Everything that shapes a run; costs are in full-depth tokens."""

    carried: float = 0.25
    temperature: float = 0.1
    state_dropout: float = 0.8  # of the hidden state's components
    steps: int = 500  # of a round
    batch: int = 1024
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    rounds: int = 3  # each replays typing anew
    documents: int = 512
    seed: int = 420


def expected_cost(
    logits: Tensor, errors: Tensor, waiting: Tensor, rollouts: Rollouts, prices: TokenPrices, arguments: Arguments
) -> Tensor:
    """(B,) V₁ of tokens, from (B, X, 2) logits, (B, X) `Rollouts.errors`, and (B, X) positions waiting below each segment."""
    segments = np.diff([*rollouts.exits, rollouts.layers])
    log_odds = logits[..., EXIT] - logits[..., CONTINUE]
    value = torch.full((len(log_odds),), prices.head)
    for i in reversed(range(len(segments))):
        alone = float(prices.layers(int(segments[i]), 1))
        last = i == len(segments) - 1
        together = torch.from_numpy(prices.advance(int(segments[i]), waiting[:, i].numpy(), last)).float()
        later = float(segments[i:].sum()) - 1  # in the last layer, waiting positions need keys and values alone
        own = (1 - arguments.carried) * (prices.layer_position * later + prices.kv_only)
        leave = prices.error * errors[:, i] + own
        stay = alone + arguments.carried * (together - alone) + value
        p = log_odds[:, i].sigmoid()
        entropy = -(p * logsigmoid(log_odds[:, i]) + (1 - p) * logsigmoid(-log_odds[:, i]))
        value = prices.decision + prices.head + p * leave + (1 - p) * stay - arguments.temperature * entropy
    return value


def train(
    rollouts: Rollouts,
    prices: TokenPrices,
    prefill_exit: int | None,
    arguments: Arguments = Arguments(),
    report: Callable[[str], None] = print,
) -> ExitModule:
    """Fit a network to replayed rollouts."""
    a = arguments
    torch.manual_seed(a.seed)
    network = ExitModule(rollouts.states.shape[2], rollouts.exits)
    optimiser = torch.optim.AdamW(network.parameters(), lr=a.learning_rate, weight_decay=a.weight_decay)
    annealed = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, a.rounds * a.steps)
    generator = np.random.default_rng(a.seed)
    errors = torch.from_numpy(rollouts.errors)
    exits = torch.arange(len(rollouts.exits))
    for round in range(a.rounds):
        rows, waiting = _situations(network, rollouts, prices, prefill_exit, a, a.seed + round)
        costs = []
        for _ in range(a.steps):
            pick = generator.integers(0, len(rows), a.batch)
            row, row_waiting = rows[pick], torch.from_numpy(waiting[pick])
            x = _features(rollouts, row, row_waiting)
            x[..., :-EXTRA_FEATURES] = dropout(x[..., :-EXTRA_FEATURES], a.state_dropout)
            logits = network(x, exits.expand(len(row), -1))
            loss = expected_cost(logits, errors[row], row_waiting, rollouts, prices, a).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            annealed.step()
            costs.append(loss.item())
        mean = statistics.fmean(costs)
        report(f"supervised {round + 1}/{a.rounds}  expected cost less entropy {mean:.3f} tokens")
    return network.requires_grad_(False)


def _features(rollouts: Rollouts, rows: np.ndarray, waiting: Tensor) -> Tensor:
    """(B, X, C + EXTRA_FEATURES) features at every exit."""
    states = torch.from_numpy(np.asarray(rollouts.states[rows], np.float32))
    segments = torch.tensor(np.diff([*rollouts.exits, rollouts.layers]))
    pending = ((waiting + 1) * segments).flip(-1).cumsum(-1).flip(-1) - waiting[:, -1:]
    log_odds, margins = torch.from_numpy(rollouts.log_odds[rows]), torch.from_numpy(rollouts.margins[rows])
    return features(states, pending, log_odds, margins)


@torch.no_grad()
def _situations(
    network: ExitModule,
    rollouts: Rollouts,
    prices: TokenPrices,
    prefill_exit: int | None,
    arguments: Arguments,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows at the first exit while typing is replayed, and the positions waiting then, (N, X)."""
    typing = draw_typing(rollouts, arguments.documents, 8, seed)
    environment = ExitEnvironment(rollouts, prices, typing, prefill_exit)
    generator = np.random.default_rng(seed)
    rows, waiting = [], []
    while (busy := environment.served < typing.first.shape[1]).any():
        first = busy & (environment.exit == 0)
        rows.append(environment.row[first])
        waiting.append(environment.waiting[first].copy())
        p = network(*environment.observe()).softmax(-1)[:, EXIT].numpy()
        environment.step((generator.random(len(p)) < p).astype(np.int64))
    return np.concatenate(rows), np.concatenate(waiting)
