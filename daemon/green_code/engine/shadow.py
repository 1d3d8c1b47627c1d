"""Shadow checks: completions of `fast`, done again at full depth while nobody waits and the machine has mains power.

Calibration says how often a threshold's completions are full depth's on held-out files; the user's own may be harder.
Each check asks whether one text was the same. Where a block of checks agrees less often than calibrated, and chance
explains that in fewer than one block of twenty (exact binomial test), the least threshold that is used goes up by a
step of the calibration's curve, in the end to 1, which is full depth. A false alarm costs energy, never quality.

Checks may cost a twentieth of what the completions of `fast` cost; the one before a pause is taken, since its cache is
still warm.
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
"""Without a request, before a check may begin."""
SHARE: Final = 0.05
"""Of the joules of completions of `fast`, that checks may cost."""
BLOCK: Final = 20
"""Checks before it is asked whether they agree often enough."""
LEVEL: Final = 0.05
"""Of the test: the share of blocks that raise an alarm where all is as calibrated."""


class Candidate(NamedTuple):
    """A completion that may be checked. `owner` is whose it was; the threshold in `params` is the number that was in force."""

    owner: object
    params: CompletionParams
    text: str

    @property
    def threshold(self) -> float:
        return float(self.params["threshold"])


class ShadowChecks:
    """The checks of one model and bundle; they outlive its being released.

    Args:
        calibration: the bundle's; without a curve nothing can be expected, so nothing is checked.
        on_battery: whether the machine runs on battery now.
    """

    def __init__(self, calibration: Mapping[str, Any], on_battery: Callable[[], bool]) -> None:
        self._curve = {
            float(point["threshold"]): float(point["agreement"]) for point in calibration.get("curve", ())
        }
        self._on_battery = on_battery
        self._allowance_joules = 0.0
        self._candidate: Candidate | None = None
        self._block: list[bool] = []  # of one threshold
        self._checks = self._agreed = 0  # of the threshold that was checked last
        self._raised_to: float | None = None
        self._threshold: float | None = None

    @property
    def least_threshold(self) -> float:
        """What thresholds that are asked for are raised to."""
        return self._raised_to or 0.0

    @property
    def agreement(self) -> Agreement | None:
        """The figures at the threshold that was checked last; None before the first check."""
        if not self._checks or self._threshold is None:
            return None
        return Agreement(
            checks=self._checks,
            agreed=self._agreed,
            calibrated=self._calibrated(self._threshold),
            raised_to=self._raised_to,
        )

    def completed(self, candidate: Candidate, result: CompletionResult) -> None:
        """A completion was given. Only those that exits decided, and that nothing cut short, can be checked.

        Calibration is over single lines: of several, more differ somewhere.
        """
        if candidate.params["decoding"] != "fast" or candidate.params["policy"] != "agent":
            return
        self._allowance_joules += SHARE * result["energy_joules"]
        whole = bool(candidate.text) and result["reason"] != "budget" and candidate.params["single_line"]
        self._candidate = candidate if whole and candidate.threshold < 1 and self._curve else None

    def due(self, idle_seconds: float) -> Candidate | None:
        """What to check now, once."""
        if self._candidate is None or idle_seconds < IDLE_SECONDS or self._allowance_joules <= 0:
            return None
        if self._on_battery():
            return None
        candidate, self._candidate = self._candidate, None
        return candidate

    def spent(self, joules: float) -> None:
        """What a check has cost, one that was interrupted included."""
        self._allowance_joules -= joules

    def checked(self, candidate: Candidate, text: str) -> None:
        """Full depth gave `text`."""
        if candidate.threshold != self._threshold:  # other thresholds agree more often, or less
            self._threshold, self._checks, self._agreed = candidate.threshold, 0, 0
            self._block.clear()
        agreed = text == candidate.text
        self._checks += 1
        self._agreed += agreed
        self._block.append(agreed)
        if len(self._block) == BLOCK:
            expected = self._calibrated(candidate.threshold)
            if at_most(sum(self._block), BLOCK, expected) < LEVEL:
                self._raise(candidate.threshold, sum(self._block), expected)
            self._block.clear()

    def _calibrated(self, threshold: float) -> float:
        """The agreement of the nearest calibrated threshold that is no higher: the less demanding of the two."""
        below = [point for point in self._curve if point <= threshold]
        return self._curve[max(below, default=min(self._curve))]

    def _raise(self, threshold: float, agreed: int, expected: float) -> None:
        above = min((point for point in self._curve if point > threshold), default=1.0)
        self._raised_to = max(above, self.least_threshold)
        log.warning(
            "%d of %d completions at threshold %.2f were full depth's, calibrated are %.0f %%: nothing below %.2f is used any more",
            agreed,
            BLOCK,
            threshold,
            100 * expected,
            self._raised_to,
        )


def at_most(successes: int, trials: int, probability: float) -> float:
    """The probability of at most so many successes: the binomial distribution's cumulative sum."""
    return math.fsum(
        math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k)
        for k in range(successes + 1)
    )
