"""What cards draw while they wait, because models are resident on them. It is booked by the time, as rows of their own, and once for each
card, however many models share it.

Must not know: how a model is loaded, or the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from green_code.engine.loaded_model import LoadedModel


class IdleDraw:
    """
    Args:
        clock: monotonic seconds, that of the loaded models.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._booked_at: dict[str, float] = {}

    def book(self, models: Iterable[LoadedModel], least_seconds: float = 0.0) -> Iterator[tuple[LoadedModel, float]]:
        """For each card with some of `models`: the one whose measurement counts, and the joules since the last booking.

        Args:
            models: all that are resident on these cards.
            least_seconds: a card that was booked less than this ago is left out.
        """
        now, on_card = self._clock(), defaultdict[str, list[LoadedModel]](list)
        for model in models:
            on_card[model.runtime.card].append(model)
        for card, residents in on_card.items():
            since = max(min(model.loaded_at for model in residents), self._booked_at.get(card, float("-inf")))
            if now - since < least_seconds:
                continue
            self._booked_at[card] = now
            model = max(residents, key=lambda each: each.runtime.idle_watts)  # others may have measured nothing yet
            if joules := model.runtime.idle_watts * (now - since):
                yield model, joules
