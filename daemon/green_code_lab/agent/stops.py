"""The stop agent and the gate by supervision, on replayed typing.

Records have the truth for every token, so no exploration is needed: the token part learns whether all text so far is right, the
refusal part whether something right will be shown, and the gate the same from what the front knows alone. The last two learn from
the requests that replayed typing makes, so that they meet the places that they will decide on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, dropout

from green_code.decoding.stop_network import token_features
from green_code.decoding.value_heads import value_depths
from green_code.lsp.gate import SCHEMA
from green_code.lsp.gate_features import NAMES
from green_code_lab.agent.networks import StopModule
from green_code_lab.replay.environment import Replayer, Shown
from green_code_lab.replay.policies import counted, running_product
from green_code_lab.replay.typist import type_span


@dataclass(frozen=True)
class Arguments:
    """Everything that shapes a run."""

    stop: float = 0.4  # of the rule that shows suggestions while places are gathered
    typings: int = 2  # of each span, with other pauses
    state_dropout: float = 0.7
    refusal_epochs: int = 6
    token_epochs: int = 8
    batch: int = 512
    refusal_rate: float = 1e-3
    token_rate: float = 2e-3
    weight_decay: float = 1e-2
    gate_penalty: float = 3e-3
    seed: int = 0


@dataclass(frozen=True)
class Visits:
    """V requests that typing makes: (V,) their rows in the records, (V, F) features of their places, and (V,) whether a layer had to
    run for the first token."""

    rows: np.ndarray
    places: np.ndarray
    runs: np.ndarray


def visits(replayer: Replayer, shown: Shown, seeds: Sequence[int]) -> Visits:
    """Those of a policy without gate and refusals."""
    rows, places, runs = list[int](), list[list[float]](), list[bool]()
    for span in range(len(replayer.records.spans)):
        for seed in seeds:
            suggester = replayer.suggester(span, shown)
            type_span(replayer.records.spans[span], suggester, seed=seed)
            for row, place, ran in suggester.asked:
                rows.append(row)
                places.append(place)
                runs.append(ran)
    return Visits(np.array(rows), np.array(places, np.float32), np.array(runs))


def token_inputs(replayer: Replayer) -> np.ndarray:
    """(M, TOKEN_FEATURES) as in service."""
    records, product = replayer.records, running_product(replayer.records)
    found = []
    for i, situation in enumerate(replayer.situations):
        before = 0
        for index, j in enumerate(range(int(records.starts[i]), int(records.starts[i + 1]))):
            found.append(token_features(float(product[j]), float(records.log_odds[j]), index, before, situation.line))
            before = int(records.characters[j])
    return np.array(found, np.float32)


def train(replayer: Replayer, found: Visits, shown: Shown, arguments: Arguments = Arguments()) -> StopModule:
    """Fit both parts of the agent."""
    a = arguments
    torch.manual_seed(a.seed)
    depth = value_depths(replayer.layers)[-1]
    network = StopModule(replayer.records.low_states.shape[2], depth, len(NAMES))
    which = counted(replayer.records)
    _fit(network.token, token_inputs(replayer)[which], replayer.token_right[which], a.token_epochs, a.token_rate, a, 0)
    inputs = refusal_inputs(replayer, found, depth)[found.runs]
    width = network.width
    _fit(network.refusal, inputs, shown.right[found.rows][found.runs], a.refusal_epochs, a.refusal_rate, a, width)
    return network.requires_grad_(False).eval()


def refusal_inputs(replayer: Replayer, found: Visits, depth: int) -> np.ndarray:
    """(V, C + F) states behind the prompts, and features of the places."""
    states = replayer.records.low_states[found.rows, value_depths(replayer.layers).index(depth)].astype(np.float32)
    return np.hstack([states, found.places])


def _fit(
    part: nn.Module, inputs: np.ndarray, right: np.ndarray, epochs: int, rate: float, a: Arguments, dropped: int
) -> None:
    """Cross-entropy; dropout over the first `dropped` inputs, which are many and say little each."""
    x, y = torch.from_numpy(inputs), torch.from_numpy(right.astype(np.float32))
    optimiser = torch.optim.AdamW(part.parameters(), lr=rate, weight_decay=a.weight_decay)
    for _ in range(epochs):
        for pick in torch.split(torch.randperm(len(x)), a.batch):
            batch = x[pick].clone()
            if dropped:
                batch[:, :dropped] = dropout(batch[:, :dropped], a.state_dropout)
            loss = binary_cross_entropy_with_logits(part(batch)[:, 0], y[pick])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()


def train_gate(found: Visits, right: np.ndarray, penalty: float) -> dict[str, Any]:
    """Logistic regression over the places: `features`, `weights` and `bias` of gate.json."""
    x, y = torch.from_numpy(found.places), torch.from_numpy(right[found.rows].astype(np.float32))
    model = nn.Linear(x.shape[1], 1)
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = binary_cross_entropy_with_logits(model(x)[:, 0], y) + penalty * model.weight.pow(2).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    weights = [round(weight, 5) for weight in model.weight[0].tolist()]
    return {"schema": SCHEMA, "features": list(NAMES), "weights": weights, "bias": round(model.bias.item(), 5)}


def area_under_curve(right: np.ndarray, estimate: np.ndarray) -> float:
    """Probability that a right one is estimated higher than a wrong one; ties count half (Mann and Whitney 1947)."""
    order = np.argsort(estimate, kind="stable")
    values, start = estimate[order], np.empty(len(estimate))
    _, first, counts = np.unique(values, return_index=True, return_counts=True)
    start[order] = np.repeat(first + (counts + 1) / 2, counts)
    positive = int(right.sum())
    negative = len(right) - positive
    return float((start[right].sum() - positive * (positive + 1) / 2) / max(1, positive * negative))
