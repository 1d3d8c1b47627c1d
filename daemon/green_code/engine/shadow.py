"""Shadow checks: completions of `fast` repeated at full depth while the engine is idle and the machine is on mains power.

Calibration measures on held-out files how often a threshold's completions equal those of full depth; the user's files may
be harder. Each check compares one text. If a block of checks agrees less often than calibrated, and a binomial test
explains that by chance in fewer than one block of twenty, the lowest threshold in use goes up by one step of the
calibration's curve, at most to 1, which is full depth. A false alarm costs energy, never quality.

Calibration is over single lines, so first lines are compared. The check has the completion's stop. Where that cut the
shorter of the two lines, they are compared as far as it goes. Shorter lines agree more often: a stop makes alarms rarer.

Checks may cost a twentieth of the joules of `fast`. The last completion before a pause is checked, because its KV cache
is still there.
Must not know: connections, the ledger, or torch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from green_code.link.messages import Agreement, CompletionParams, CompletionResult

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 10.0
"""Time without a request before a check may begin."""
SHARE: Final = 0.05
"""Joules that checks may cost, as a share of those of `fast`."""
BLOCK: Final = 20
"""Checks per binomial test."""
LEVEL: Final = 0.05
"""Significance level: the share of blocks that raise the threshold if all is as calibrated."""


class Candidate(NamedTuple):
    """A completion that may be checked, and its connection. The threshold in `params` is the number in force."""

    owner: object
    params: CompletionParams
    result: CompletionResult

    @property
    def threshold(self) -> float:
        return float(self.params["threshold"])

    def at_full_depth(self) -> CompletionParams:
        """The request that repeats its first line with full depth's tokens."""
        return {**self.params, "decoding": "exact", "single_line": True, "max_lines": 1}


class ShadowChecks:
    """The checks of one model and bundle; they persist while the model is released.

    Args:
        calibration: the bundle's calibration.json; without a curve there is nothing to compare with, and no check.
        on_battery: whether the machine runs on battery now.
    """

    def __init__(self, calibration: Mapping[str, Any], on_battery: Callable[[], bool]) -> None:
        self._curve = {float(point["threshold"]): float(point["agreement"]) for point in calibration.get("curve", ())}
        self._on_battery = on_battery
        self._allowance_joules = 0.0
        self._candidate: Candidate | None = None
        self._block: list[bool] = []  # of one threshold
        self._checks = self._agreed = 0  # of the threshold that was checked last
        self._raised_to: float | None = None
        self._threshold: float | None = None

    @property
    def least_threshold(self) -> float:
        """Lower requested thresholds are raised to this."""
        return self._raised_to or 0.0

    @property
    def agreement(self) -> Agreement | None:
        """The figures at the last checked threshold; None before the first check."""
        if not self._checks or self._threshold is None:
            return None
        return Agreement(
            checks=self._checks,
            agreed=self._agreed,
            calibrated=self._calibrated(self._threshold),
            raised_to=self._raised_to,
        )

    def completed(self, candidate: Candidate) -> None:
        """A completion was sent. It can be checked if the agent decided its exits and the time sufficed."""
        if candidate.params["decoding"] != "fast" or candidate.params["policy"] != "agent":
            return
        self._allowance_joules += SHARE * candidate.result["energy_joules"]
        comparable = _comparable(candidate.result) and candidate.threshold < 1 and self._curve
        self._candidate = candidate if comparable and _first_line(candidate.result).strip() else None

    def due(self, idle_seconds: float) -> Candidate | None:
        """The completion to check now; each is returned once."""
        if self._candidate is None or idle_seconds < IDLE_SECONDS or self._allowance_joules <= 0:
            return None
        if self._on_battery():
            return None
        candidate, self._candidate = self._candidate, None
        return candidate

    def spent(self, joules: float) -> None:
        """A check has cost joules, also if it was interrupted."""
        self._allowance_joules -= joules

    def checked(self, candidate: Candidate, result: CompletionResult) -> None:
        """Full depth gave `result`; one that the time or the stop ended before anything was shown does not count."""
        if not _comparable(result):
            return
        if candidate.threshold != self._threshold:  # the expected agreement is another
            self._threshold, self._checks, self._agreed = candidate.threshold, 0, 0
            self._block.clear()
        agreed = _agree(candidate.result, result)
        self._checks += 1
        self._agreed += agreed
        self._block.append(agreed)
        if len(self._block) == BLOCK:
            expected = self._calibrated(candidate.threshold)
            if at_most(sum(self._block), BLOCK, expected) < LEVEL:
                self._raise(candidate.threshold, sum(self._block), expected)
            self._block.clear()

    def _calibrated(self, threshold: float) -> float:
        """The agreement of the nearest calibrated threshold that is not higher."""
        below = [point for point in self._curve if point <= threshold]
        return self._curve[max(below, default=min(self._curve))]

    def _raise(self, threshold: float, agreed: int, expected: float) -> None:
        above = min((point for point in self._curve if point > threshold), default=1.0)
        self._raised_to = max(above, self.least_threshold)
        log.warning(
            "%d of %d completions at threshold %.2f equal full depth's, calibrated are %.0f %%: thresholds below %.2f are no longer used",
            agreed,
            BLOCK,
            threshold,
            100 * expected,
            self._raised_to,
        )


def _comparable(result: CompletionResult) -> bool:
    return result["reason"] not in ("budget", "unlikely")


def _first_line(result: CompletionResult) -> str:
    return result["text"].partition("\n")[0]


def _is_cut(result: CompletionResult) -> bool:
    """Whether the stop ended the first line."""
    return result["reason"] == "unsure" and "\n" not in result["text"]


def _agree(one: CompletionResult, other: CompletionResult) -> bool:
    """Whether the first lines are equal; where the stop cut the shorter one, as far as it goes."""
    shorter, longer = sorted((one, other), key=lambda result: len(_first_line(result)))
    if _is_cut(shorter):
        return longer["text"].startswith(shorter["text"])
    return _first_line(shorter) == _first_line(longer)


def at_most(successes: int, trials: int, probability: float) -> float:
    """The probability of at most `successes`: the binomial distribution's cumulative function."""
    return math.fsum(
        math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k) for k in range(successes + 1)
    )
