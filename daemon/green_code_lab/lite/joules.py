"""Joules of a run by all its processes. What is not known is None, never 0, and a sum with such a part is None as well."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from green_code.energy.meters import Meter, own_part


def total(parts: Sequence[float | None]) -> float | None:
    """None where one of them is."""
    return None if None in parts else sum(part for part in parts if part is not None)


def whole(joules: float | None) -> int | None:
    """Without fractions, for logs."""
    return None if joules is None else round(joules)


def in_words(joules: float | None, source: str) -> str:
    return "joules unknown" if joules is None else f"{joules / 1000:.1f} kJ ({source})"


class RunJoules:
    """
    Args:
        meter: of this process's device; it counts from now on. reads_host: of the processes of a machine only one does: a counter of
            processor packages counts for all of them.
        before: of the run, until this process began.
    """

    def __init__(self, meter: Meter, reads_host: bool, before: float | None) -> None:
        self.source = meter.source
        self._meter = meter if reads_host else own_part(meter)
        self._before, self._others = before, 0.0

    def share(self, add_up: Callable[[float], float]) -> None:
        """Learn what the other processes have used; all must call this together. `add_up`: a number's sum over the processes."""
        own = self._own()
        known = math.nan if own is None else own
        self._others = add_up(known) - known

    def spent(self) -> float | None:
        """By the whole run so far; by other processes as of the last `share`. A reading that fails leaves later ones whole."""
        return total((self._before, self._own(), None if math.isnan(self._others) else self._others))

    def _own(self) -> float | None:
        return 0.0 if self._meter is None else self._meter.read_joules()
