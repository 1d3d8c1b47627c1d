"""The gate: do not ask the engine where a suggestion would hardly be taken.

A bundle's gate.json has a logistic regression over `gate_features`; what this user takes adapts it (gate_adaptation.py). Its
probability is that of a request: that a suggestion comes of it and is taken. It must be able to unlearn, so some of what it
refuses is asked all the same, and it never falls silent. Without weights every request is asked.
Must not know: documents, the engine, or how outcomes are observed.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

from green_code.folders import bundles_dir
from green_code.lsp.gate_adaptation import Adaptation, reset_adaptations
from green_code.lsp.gate_features import NAMES, Place, features
from green_code.reading import decode, read_bytes
from green_code.settings import STOPS, Settings

log = logging.getLogger(__name__)

FILE: Final = "gate.json"
SCHEMA: Final = 2
EXPLORED: Final = 0.01
"""Share of refusals that are asked all the same."""
REFUSALS_IN_A_ROW: Final = 25
"""After so many, requests are asked until one reaches the engine."""
FRESH_SECONDS: Final = 1.0
"""The bundle's file is looked at so often."""
LARGEST: Final = 1e3
"""No weight is larger."""
BYTES_AT_MOST: Final = 1_000_000
LOG_ODDS_AT_MOST: Final = 30.0


Weight = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]


class _Stored(Struct, frozen=True):
    """The file."""

    schema: int
    features: tuple[str, ...]
    weights: tuple[Weight, ...]
    bias: Weight
    bounds: dict[str, Weight]


@dataclass(frozen=True)
class GateWeights:
    """A bundle's gate. `weights` are one per name of `NAMES`, the bias is the last; `bounds` one per name of `STOPS`."""

    weights: tuple[float, ...]
    bounds: Mapping[str, float]
    digest: str


@dataclass(frozen=True)
class Decision:
    """Whether to ask, and why. `inputs` are the place's features. The probability is None where there is no gate.

    `explored`: asked against the probability.
    """

    ask: bool
    inputs: tuple[float, ...]
    probability: float | None = None
    bound: float = 0.0
    explored: bool = False


def read_weights(path: Path) -> GateWeights:
    """Read and check a bundle's gate.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is no gate of this version; the message names the fault, and not the file.
    """
    content = read_bytes(path, BYTES_AT_MOST)
    gate = decode(content, _Stored)
    if gate.schema != SCHEMA or gate.features != NAMES or len(gate.weights) != len(NAMES):
        raise ValueError("it has other features than this version")
    if missing := [stop for stop in STOPS if stop not in gate.bounds]:
        raise ValueError(f"it has no bound for {missing[0]}")
    weights, bounds = (*gate.weights, gate.bias), {stop: gate.bounds[stop] for stop in STOPS}
    return GateWeights(weights, bounds, hashlib.sha256(content).hexdigest()[:16])


class Gate:
    """The gate of one window.

    Args:
        chance: decides which refusals are asked all the same.
        warn: gets a sentence for the user.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        chance: random.Random,
        warn: Callable[[str], None] = lambda message: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chance = chance
        self._warn = warn
        self._clock = clock
        self._path: Path | None = None
        self._version: tuple[int, int] | None = None
        self._looked_at = -math.inf
        self._weights: GateWeights | None = None
        self._adaptation: Adaptation | None = None
        self._adaptive = True
        self._stop = next(iter(STOPS))
        self._refusals = 0
        self._logged: set[str] = set()

    def configure(self, settings: Settings) -> None:
        """Take settings: the model's gate, its bound, and whether it adapts."""
        self._stop, self._adaptive = settings.suggestions, settings.adaptive_gate
        model = settings.model
        is_name = Path(model).name == model and model not in ("", "..")
        path = bundles_dir() / model / FILE if is_name else None
        if path != self._path:
            self._path, self._version, self._looked_at = path, None, -math.inf
            self._use(None)

    def decide(self, place: Place, automatic: bool = True) -> Decision:
        """Whether to ask for a suggestion; a request by hand is always asked."""
        self._look()
        inputs = tuple(features(place))
        if (gate := self._weights) is None:
            return Decision(True, inputs)
        probability, bound = self._probability(gate, inputs), gate.bounds[self._stop]
        ask = explored = False
        if not automatic or probability >= bound:
            ask = True
        elif self._refusals >= REFUSALS_IN_A_ROW or self._chance.random() < EXPLORED:
            ask = explored = True
        else:
            self._refusals += 1
        return Decision(ask, inputs, probability, bound, explored)

    def asked(self) -> None:
        """A request reaches the engine."""
        self._refusals = 0

    def learn(self, inputs: Sequence[float], taken: bool) -> None:
        """What became of a request that was asked.

        Args:
            inputs: the decision's; none if there was no decision.
            taken: its suggestion was taken, at least in part; False also if there was none worth showing.
        """
        gate, adaptation = self._weights, self._adaptation
        if gate is not None and adaptation is not None and self._adaptive and inputs:
            adaptation.learn((*inputs, 1.0), float(taken) - self._probability(gate, inputs))

    def reset(self) -> bool:
        """Forget what was learned about this user; returns whether there was anything.

        Raises:
            OSError: its file cannot be deleted.
        """
        learned = self._adaptation is not None and any(self._adaptation.differences)
        stored = reset_adaptations()
        self._adapt_anew()
        return stored or learned

    def close(self) -> None:
        """The window closes: save what was learned."""
        if self._adaptation is not None:
            self._adaptation.save()

    def _probability(self, gate: GateWeights, inputs: Sequence[float]) -> float:
        weights = gate.weights
        if self._adaptive and self._adaptation is not None:
            weights = tuple(map(sum, zip(weights, self._adaptation.differences, strict=True)))
        log_odds = sum(weight * value for weight, value in zip(weights, (*inputs, 1.0), strict=True))
        return 1.0 / (1.0 + math.exp(-max(-LOG_ODDS_AT_MOST, min(LOG_ODDS_AT_MOST, log_odds))))

    def _look(self) -> None:
        """Read the bundle's file if it has changed."""
        now = self._clock()
        if self._path is None or 0.0 <= now - self._looked_at < FRESH_SECONDS:
            return
        self._looked_at = now
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_size)
            if version != self._version:
                self._version = version
                self._use(read_weights(self._path))
        except FileNotFoundError:
            self._version = None
            self._say_once(f"{self._path.parent.name} has no gate; every request is asked.")
            self._use(None)
        except (OSError, ValueError) as error:
            self._say_once(f"{self._path.parent.name}: {FILE} is damaged ({error}); every request is asked.")
            self._use(None)

    def _use(self, weights: GateWeights | None) -> None:
        if weights is None and self._weights is None:
            return
        self.close()
        self._weights = weights
        self._adapt_anew()

    def _adapt_anew(self) -> None:
        gate = self._weights
        self._adaptation = Adaptation(len(gate.weights), gate.digest, self._warn) if gate is not None else None

    def _say_once(self, message: str) -> None:
        if message not in self._logged:
            self._logged.add(message)
            log.info("%s", message)
