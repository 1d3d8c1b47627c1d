"""A row of the energy ledger: one completion, without any text of the user's; or all of a day that is long past.

Must not know: lsp, link, engine or decoding.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """One completion. Joules are joules; `time` is UTC in ISO 8601.

    A row whose reason is `ROLLED_UP` is the sum of a day's, of one language and model.
    """

    id: str
    time: str
    language: str
    model: str
    decoding: str
    threshold: str
    tokens: int
    exit_layers: int  # sum over the tokens of the layer that decoded each
    layers_run: int
    layers_total: int
    prompt_tokens: int
    prompt_layers_run: int
    energy_joules: float
    energy_full_joules: float
    energy_source: str
    cpu_seconds: float
    wall_seconds: float
    reason: str
    completions: int = 1  # 0: the reason is one of `UNFINISHED`
    characters: int = 0  # of the text, as it was shown
    accepted_characters: int = 0  # how many of them were inserted
    shown: int = 0  # 1: the editor showed the text: it was not withheld, and the document was still the request's
    accepted: int = 0  # 1: at least once
    retained: int = 0  # 1: the text was still in the document half a minute after it was accepted
    unmeasured: int = 0  # 1: a completion whose joules are unknown, and 0 here

    @property
    def layer_tokens(self) -> int:
        """Its tokens, where the layers that decoded them are known."""
        return self.tokens if self.layers_total else 0

    def with_shown(self, characters: int) -> Row:
        """The row after the editor showed so many characters of its text, or again a part of them."""
        return replace(self, shown=1, characters=max(self.characters, characters))

    def with_accepted(self, characters: int | None) -> Row:
        """The row after `characters` more of its text were inserted (None: the whole text), at most all of it."""
        more = self.characters if characters is None else characters
        return replace(self, accepted=1, accepted_characters=min(self.characters, self.accepted_characters + more))


UNKNOWN: Final = "unknown"
"""Energy source of a row whose joules nobody knows: a server computed it that does not report them, or a GPU without a counter."""

ASSUMED: Final = "assumed"
"""Energy source of joules that nothing here can measure, counted by assumed costs, where only ratios are asked for. No row has it."""

SERVER = "server"
"""Energy source of a row whose joules the server itself reported."""

CHECK = "check"
"""Reason of a row that is a completion repeated at full depth (engine/shadow.py)."""

IDLE = "idle"
"""Reason of a row that is what a device drew because a model was resident. It has no language."""

UNFINISHED = ("cancelled", "superseded", CHECK, IDLE)
"""Reasons of rows that do not count as completions."""

ROLLED_UP = "rolled_up"
"""Reason of a row that is the sum of others. What they do not agree on is empty; counts and amounts are sums."""


def new_id() -> str:
    """An id for a new row."""
    return uuid.uuid4().hex


def now_text() -> str:
    """The current time in the format of `Row.time`."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def today_text() -> str:
    """The current day (UTC) in the format in which `Row.time` begins."""
    return now_text()[:10]
