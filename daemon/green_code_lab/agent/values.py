"""Value heads by regression on replayed typing, and what they refuse.

Records have what would be shown behind every prompt, and how much of it is right, so no exploration is needed. The heads learn from the
requests of replayed typing for which a layer has to run: only there can one be refused. Ridge penalties are chosen by cross-validation
over spans; the greatest leaves a head with the place alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from green_code.decoding.value_heads import MOST_CHARACTERS, ValueHeads, value_depths
from green_code_lab.agent.baselines import sigmoid
from green_code_lab.agent.stops import Visits, area_under_curve, regress
from green_code_lab.replay.compare import Policy, refusals
from green_code_lab.replay.environment import Replayer, Shown
from green_code_lab.replay.policies import shown_by
from green_code_lab.replay.typist import type_span

STATE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e6)
PLACE_PENALTY = 1e-3
FOLDS = 5


def accepted_characters(shown: Shown) -> np.ndarray:
    """(N,) characters of what is shown, where all of it is right."""
    return np.where(shown.right, [len(text) for text in shown.texts], 0)


def head_inputs(replayer: Replayer, found: Visits, depth: int) -> np.ndarray:
    """(V, C + F) states behind the prompts, and features of the places."""
    index = value_depths(replayer.layers).index(depth)
    return np.hstack([replayer.records.low_states[found.rows, index].astype(np.float32), found.places])


def train(replayer: Replayer, found: Visits, shown: Shown, report: Callable[[str], None]) -> ValueHeads:
    """Fit the heads, and report how well they rank requests that they have not learned from."""
    width, places = replayer.records.low_states.shape[2], found.places.shape[1]
    parameters, depths = dict[str, np.ndarray](), value_depths(replayer.layers)
    shares = np.minimum(accepted_characters(shown)[found.rows], MOST_CHARACTERS) / MOST_CHARACTERS
    learned, folds = found.runs, replayer.records.span[found.rows] % FOLDS
    for depth in depths:
        inputs = head_inputs(replayer, found, depth)
        best, lowest, chosen = np.zeros(0), np.inf, 0.0
        for penalty in STATE_PENALTIES:
            penalties = np.r_[np.full(width, penalty), np.full(places, PLACE_PENALTY)]
            predicted = np.zeros(len(inputs))
            for fold in range(FOLDS):
                others = learned & (folds != fold)
                weights, bias = regress(inputs[others], shares[others], penalties)
                predicted[folds == fold] = inputs[folds == fold] @ weights + bias
            loss = float((np.logaddexp(0, predicted) - shares * predicted)[learned].mean())
            if loss < lowest:
                best, lowest, chosen = predicted, loss, penalty
        penalties = np.r_[np.full(width, chosen), np.full(places, PLACE_PENALTY)]
        weights, bias = regress(inputs[learned], shares[learned], penalties)
        parameters[f"{depth}.weight"], parameters[f"{depth}.bias"] = weights, np.array([bias], np.float32)
        right = shown.right[found.rows]
        areas = f"{area_under_curve(right[learned], best[learned]):.3f}, of cold prompts {area_under_curve(right, best):.3f}"
        report(f"value head at layer {depth}: area under the curve {areas} (penalty {chosen:g}, cross-validated)")
    stored = {name: part.astype(np.float16).astype(np.float32) for name, part in parameters.items()}
    return ValueHeads(width, depths, places, stored)


def characters(replayer: Replayer, heads: ValueHeads, found: Visits, depth: int) -> np.ndarray:
    """(V,) what a head expects of requests."""
    log_odds = head_inputs(replayer, found, depth) @ heads.parameters[f"{depth}.weight"]
    return np.asarray(MOST_CHARACTERS * sigmoid(log_odds + heads.parameters[f"{depth}.bias"]))


def never_past(replayer: Replayer, policy: Policy, found: Visits) -> dict[str, dict[str, float]]:
    """The share that never goes past each depth at which a policy refuses: of `requests` in replayed typing, and of those `found`, if each came
    with a `cold` prompt."""
    shown, refuses = shown_by(replayer, policy.estimate, policy.stop), refusals(replayer, policy)
    depths = list[int]()
    for i, span in enumerate(replayer.records.spans):
        suggester = replayer.suggester(i, shown, refuses)
        type_span(span, suggester)
        depths += suggester.refused
    cold = [
        next((depth for depth in refuses.depths if refuses.at(row, place, depth)), 0)
        for row, place in zip(found.rows.tolist(), found.places.tolist(), strict=True)
    ]
    return {name: _shares(each, refuses.depths) for name, each in (("requests", depths), ("cold", cold))}


def _shares(refused: list[int], depths: tuple[int, ...]) -> dict[str, float]:
    return {str(depth): round(sum(0 < each <= depth for each in refused) / len(refused), 4) for depth in depths}
