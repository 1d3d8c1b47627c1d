"""Learn then Test: a threshold whose loss is bounded with confidence (Angelopoulos et al., arXiv 2110.01052; CALM, 2207.07061).

The hypothesis of a threshold is that its mean loss exceeds what is allowed. Thresholds are tested in a fixed order, the
safest first, each at the whole level, until one cannot be rejected: the chance that any of those rejected loses more
than allowed is then at most the level. The test is one-sided on the mean over rows, by the central limit theorem.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

LEVEL = 0.05


def p_value(full: Sequence[float], fast: Sequence[float], allowed: float) -> float:
    """That rows like these lose more than `allowed` of the full scores' mean; paired, higher scores are better."""
    excess = [a - b - allowed * a for a, b in zip(full, fast, strict=True)]
    mean, spread = statistics.fmean(excess), statistics.stdev(excess)
    if spread == 0:
        return 0.0 if mean < 0 else 1.0
    return statistics.NormalDist().cdf(mean / (spread / math.sqrt(len(excess))))


def certified(p_values: Sequence[float]) -> int:
    """How many of the p-values, in the order in which they are tested, are rejected before the first that is not."""
    return next((i for i, p in enumerate(p_values) if p > LEVEL), len(p_values))
