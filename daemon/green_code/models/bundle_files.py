"""What the JSON files of a bundle hold. Other fields are records of its training, with which nothing here computes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from green_code.reading import Amount, Digest, Share

Layer = Annotated[int, Meta(ge=1, le=512)]
_Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]


class Version(Struct, frozen=True):
    """Of manifest.json, whatever else it has."""

    schema: int


class Base(Struct, frozen=True):
    """The model that a bundle was trained for: its name or path, and the fingerprint of its files."""

    model: Annotated[str, Meta(min_length=1, max_length=4096)]
    sha256: Digest


class Training(Struct, frozen=True):
    """What `green-code bundle` shows of the fine-tuning."""

    method: str | None = None
    tokens: Amount | None = None
    joules: Amount | None = None
    energy_source: str | None = None


class Manifest(Struct, frozen=True):
    """manifest.json. `files`: name → SHA-256."""

    schema: int
    base: Base
    exits: list[Layer]
    files: dict[str, Digest]
    prefill_exit: Layer | None = None
    training: Training = Training()
    licences: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.exits != sorted(set(self.exits)):
            raise ValueError(f"exits {self.exits} are not ascending layers")
        if self.prefill_exit is not None and self.prefill_exit > max(self.exits, default=0):
            raise ValueError(f"prefill_exit {self.prefill_exit} is no layer up to the last exit")


class Point(Struct, frozen=True):
    """Of the curve that shadow checks compare with."""

    threshold: Share
    agreement: Share


class Preset(Struct, frozen=True):
    """A named threshold of the exit agent, and what it was measured to give."""

    threshold: Share
    saving: _Finite
    edit_similarity: _Finite
    saved_joules: _Finite = 0.0


class NeverPast(Struct, frozen=True):
    """By layer, the share of cold prompts, and of all requests, that never goes past it."""

    cold: dict[str, Share]
    requests: dict[str, Share]


class Stop(Struct, frozen=True):
    """A named bound of the stop policy. `refusal`: by layer, the fewest characters that the value head there must expect; `lost`: the
    share of the accepted characters that this costs."""

    stop: Share
    refusal: dict[str, Amount] = {}
    never_past: NeverPast | None = None
    lost: _Finite = 0.0


class Suggestions(Struct, frozen=True):
    presets: dict[str, Stop] = {}


class Reference(Struct, frozen=True):
    energy_source: str | None = None


class Calibration(Struct, frozen=True):
    """calibration.json."""

    presets: dict[str, Preset] = {}
    curve: list[Point] = []
    suggestions: Suggestions = Suggestions()
    reference: Reference = Reference()
