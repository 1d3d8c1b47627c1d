"""Learn then Test: a threshold whose loss is bounded with confidence (Angelopoulos et al., arXiv 2110.01052; CALM, 2207.07061).

The hypothesis of a threshold is that its mean loss exceeds the allowed one. Thresholds are tested in a fixed order, the
safest first, each at the whole level, until one is not rejected: the chance that any rejected one loses more than
allowed is then at most the level. Losses are sparse and skewed, so the test is one by betting, valid for any bounded
scores and any number of independent rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 0.05
_MOST_STAKE = 1.9  # at 2, one row of the greatest loss would take all capital


def p_value(full: Sequence[float], fast: Sequence[float], allowed: float) -> float:
    """Of the hypothesis that rows like these, scored 0 … 100 and in random order, lose more than `allowed` of the full mean.

    Betting against a mean (Waudby-Smith & Ramdas, arXiv 2010.09686, in the form of Bates et al., 2101.02703, section 3.1.3,
    but for the greatest stake): under the hypothesis, the capital reaches 1/p times its start with probability p at most.
    """
    # Excess loss over the allowed one, from its range −1 … 1 to 0 … 1; the hypothesis is a mean of ½ at least.
    losses = [0.5 + (a - b - allowed * a) / 200 for a, b in zip(full, fast, strict=True)]
    capital = best = 1.0
    total, squares = 0.5, 0.25  # a row of ½ and a spread of ½ before the first
    for i, loss in enumerate(losses, 1):
        variance = squares / i
        stake = min(_MOST_STAKE, math.sqrt(2 * math.log(1 / LEVEL) / (len(losses) * variance)))
        capital *= 1 + stake * (0.5 - loss)
        best = max(best, capital)
        total += loss
        mean = total / (i + 1)
        squares += (loss - mean) ** 2
    return min(1.0, 1 / best)


def certified(p_values: Sequence[float]) -> int:
    """How many p-values, in the order of testing, are rejected before the first that is not."""
    return next((i for i, p in enumerate(p_values) if p > LEVEL), len(p_values))
