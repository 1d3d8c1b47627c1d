"""The stop agent and the gate by supervision, on replayed typing.

Records have the truth for every token, so no exploration is needed: the agent learns whether all text so far is right, and the gate
whether something right will be shown, from what the front knows. It learns from the requests that replayed typing makes, so that it
meets the places that it will decide on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from green_code.decoding.stop_network import token_features
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
    epochs: int = 8
    batch: int = 512
    rate: float = 2e-3
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


def train(replayer: Replayer, arguments: Arguments = Arguments()) -> StopModule:
    """Fit the agent by cross-entropy."""
    a, which = arguments, counted(replayer.records)
    torch.manual_seed(a.seed)
    network = StopModule()
    x = torch.from_numpy(token_inputs(replayer)[which])
    y = torch.from_numpy(replayer.token_right[which].astype(np.float32))
    optimiser = torch.optim.AdamW(network.parameters(), lr=a.rate, weight_decay=a.weight_decay)
    for _ in range(a.epochs):
        for pick in torch.split(torch.randperm(len(x)), a.batch):
            loss = binary_cross_entropy_with_logits(network(x[pick])[:, 0], y[pick])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return network.requires_grad_(False).eval()


def regress(inputs: np.ndarray, shares: np.ndarray, penalties: np.ndarray) -> tuple[np.ndarray, float]:
    """Logistic regression of shares of one, (N, F) → (N,): the (F,) weights and the bias.

    Args:
        penalties: (F,) of the squared weights, beside the mean cross-entropy.
    """
    x, y, penalty = (torch.from_numpy(each.astype(np.float32)) for each in (inputs, shares, penalties))
    weights, bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = binary_cross_entropy_with_logits(x @ weights + bias, y) + (penalty * weights.pow(2)).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach().numpy(), bias.item()


def train_gate(found: Visits, right: np.ndarray, penalty: float) -> dict[str, Any]:
    """Logistic regression over the places: `features`, `weights` and `bias` of gate.json."""
    weights, bias = regress(found.places, right[found.rows], np.full(found.places.shape[1], penalty))
    rounded = [round(weight, 5) for weight in weights.tolist()]
    return {"schema": SCHEMA, "features": list(NAMES), "weights": rounded, "bias": round(bias, 5)}


def area_under_curve(right: np.ndarray, estimate: np.ndarray) -> float:
    """Probability that a right one is estimated higher than a wrong one; ties count half (Mann and Whitney 1947)."""
    order = np.argsort(estimate, kind="stable")
    values, start = estimate[order], np.empty(len(estimate))
    _, first, counts = np.unique(values, return_index=True, return_counts=True)
    start[order] = np.repeat(first + (counts + 1) / 2, counts)
    positive = int(right.sum())
    negative = len(right) - positive
    return float((start[right].sum() - positive * (positive + 1) / 2) / max(1, positive * negative))
