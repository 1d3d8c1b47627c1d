"""Every setting, once: name, type, default, scope and limits. A test compares package.json, which has the texts, with it.

Values come from the editor as JSON. For a wrong type, a value out of range or an unknown key, the default is used and one
message names the key. Values for one language come as in VS Code's settings.json: under the key "[python]", an object of
the settings that may differ by language.
Must not know: who uses a setting, or how it is stored.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from green_code.endpoints import is_endpoint, parse_endpoint
from green_code.languages import ENABLED
from green_code.problems import shown

PREFIX: Final = "greenCode."

PRESETS: Final = ("quality", "balanced", "saver")
"""Names of thresholds that the bundle's calibration resolves; for the command line, not for settings."""

STOPS: Final = {"eager": 0.2, "balanced": 0.4, "sure": 0.6}
"""Names of stops, from most suggestions to fewest, with the least probability of being right where no calibration has another."""

PROMPT_TOKENS: Final = 512
"""Default limit of a prompt; training and measurements use it too."""

TOKENS_PER_LINE: Final = 32
"""Limit of a completion, for each line of greenCode.maxLines."""

Type = Literal["boolean", "number", "integer", "string", "array"]
Scope = Literal["window", "resource", "language-overridable", "machine", "machine-overridable"]


@dataclass(frozen=True)
class Setting:
    """A row of the table, with the terms of VS Code's configuration schema."""

    name: str
    type: Type
    default: Any
    scope: Scope = "window"
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[str, ...] | None = None
    most: int | None = None
    """Characters of a string, or items of an array."""


TABLE: Final[tuple[Setting, ...]] = (
    Setting("enabled", "boolean", True),
    Setting("suggestions", "string", "balanced", enum=tuple(STOPS)),
    Setting("adaptiveGate", "boolean", True),
    Setting("threshold", "number", 0.99, minimum=0.5, maximum=1),
    Setting("decoding", "string", "exact", enum=("exact", "fast", "full")),
    Setting("model", "string", "gemma-3-270m", scope="machine", most=4096),
    Setting("endpoint", "string", "", scope="machine", most=2048),
    Setting("device", "string", "auto", enum=("auto", "cpu", "cuda", "mps")),
    Setting("gpuReserve", "number", 1.0, scope="machine", minimum=0, maximum=1000),
    Setting("languages", "array", list(ENABLED), most=256),
    Setting("trigger", "string", "automatic", enum=("automatic", "manual")),
    Setting(
        "excludedFiles",
        "array",
        ["**/.env*", "**/*.pem", "**/*.key", "**/*.p12", "**/id_rsa*", "**/secrets.*", "**/.git/**"],
        most=256,
    ),
    Setting("completeInComments", "boolean", True, scope="language-overridable"),
    Setting("completeInStrings", "boolean", True, scope="language-overridable"),
    Setting("maxLines", "integer", 8, minimum=1, maximum=32),
    Setting("maxPromptTokens", "integer", PROMPT_TOKENS, minimum=64, maximum=4096),
    Setting("pauseOnBattery", "boolean", False),
    Setting("statusBar", "boolean", True),
    Setting("gridIntensity", "number", 481.0, minimum=0, maximum=2000),
    Setting("pythonPath", "string", "", scope="machine", most=4096),
)


@dataclass(frozen=True)
class Settings:
    """The values in force: a field per row of the table, named in snake case.

    `by_language`: values for one language, by language and field.
    """

    enabled: bool
    suggestions: Literal["eager", "balanced", "sure"]
    adaptive_gate: bool
    threshold: float
    decoding: Literal["fast", "exact", "full"]
    model: str
    endpoint: str
    device: Literal["auto", "cpu", "cuda", "mps"]
    gpu_reserve: float
    languages: list[str]
    trigger: Literal["automatic", "manual"]
    excluded_files: list[str]
    complete_in_comments: bool
    complete_in_strings: bool
    max_lines: int
    max_prompt_tokens: int
    pause_on_battery: bool
    status_bar: bool
    grid_intensity: float
    python_path: str
    by_language: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def served_by(self) -> str:
        """The model, or the server that takes its place."""
        return self.endpoint or self.model

    def of_language(self, language: str) -> Settings:
        """The values in force for documents of a language."""
        return replace(self, **own) if (own := self.by_language.get(language)) else self


_ROWS: Final = {row.name: row for row in TABLE}
_LANGUAGE: Final = re.compile(r"\[(.+)\]")


def field_name(name: str) -> str:
    """A setting's name in snake case: excludedFiles, excluded_files."""
    return re.sub(r"[A-Z]", lambda match: "_" + match.group().lower(), name)


def default_settings() -> Settings:
    """The table's defaults."""
    return parse_settings({})[0]


def parse_settings(values: Mapping[str, Any] | None) -> tuple[Settings, list[str]]:
    """Settings from JSON values by name without the prefix, and a message for each that cannot be used."""
    accepted: dict[str, Any] = {field_name(row.name): copy.copy(row.default) for row in TABLE}
    messages, by_language = [], dict[str, dict[str, Any]]()
    for name, value in (values or {}).items():
        if (language := _LANGUAGE.fullmatch(name)) is not None and isinstance(value, Mapping):
            own = by_language[language[1]] = {}
            for key, owned in value.items():
                messages += _store(own, key, owned, f"{name}.", "the value of all languages")
        else:
            messages += _store(accepted, name, value)
    return Settings(**accepted, by_language=by_language), messages


def _store(
    accepted: dict[str, Any], name: str, value: Any, language: str = "", otherwise: str | None = None
) -> list[str]:
    """Store a valid value; returns a message otherwise. `language`: the value is for this language only."""
    row = _ROWS.get(name)
    if row is None:
        return [f"{PREFIX}{language[:50]}{name[:50]}: there is no such setting; it is ignored."]
    if language and row.scope != "language-overridable":
        return [f"{PREFIX}{language[:50]}{name}: it cannot differ by language; it is ignored."]
    if (fault := check_value(row, value)) is not None:
        return [f"{PREFIX}{language[:50]}{name}: {fault}; {otherwise or repr(row.default)} is used."]
    accepted[field_name(name)] = float(value) if row.type == "number" else value
    return []


def check_value(row: Setting, value: Any) -> str | None:
    """Why a value is invalid, or None."""
    if not _has_type(row.type, value):
        expected = "array of strings" if row.type == "array" else row.type
        return f"{shown(value)} is not of type {expected}"
    if row.enum is not None and value not in row.enum:
        return f"{shown(value)} is none of {', '.join(row.enum)}"
    too_low = row.minimum is not None and value < row.minimum
    too_high = row.maximum is not None and value > row.maximum
    if too_low or too_high:
        return f"{shown(value)} is outside {row.minimum:g} to {row.maximum:g}"
    if row.most is not None and len(value) > row.most:
        return f"it has {len(value)} {'characters' if row.type == 'string' else 'items'}, over the limit of {row.most}"
    if row.type == "string" and "\0" in value:
        return f"{shown(value)} has a NUL character"
    if row.name == "model" and is_endpoint(value):
        return "it is the address of a server, which belongs in greenCode.endpoint"
    if row.name == "endpoint" and value:
        try:
            parse_endpoint(value)
        except ValueError as error:
            return str(error)
    return None


def _has_type(kind: Type, value: Any) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
    if kind == "string":
        return isinstance(value, str)
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
