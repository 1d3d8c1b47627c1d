"""Every setting, once: name, type, default, scope, limits and text; package.json is compared with this table.

Values come from the editor as JSON. A wrong type, a value out of range or an unknown key never stops
anything: the default is kept, and one message names the key.
Must not know: who uses a setting, or how it is stored.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

PREFIX: Final = "greenCode."

STOPS: Final = ("quality", "balanced", "saver")
"""Names for thresholds that the bundle's calibration resolves; for the command line, not for settings."""

Type = Literal["boolean", "number", "integer", "string", "array"]
Scope = Literal["window", "resource", "language-overridable", "machine", "machine-overridable"]


@dataclass(frozen=True)
class Setting:
    """A row of the table, in the words of VS Code's configuration schema."""

    name: str
    type: Type
    default: Any
    description: str
    scope: Scope = "window"
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[str, ...] | None = None


TABLE: Final[tuple[Setting, ...]] = (
    Setting("enabled", "boolean", True, "Suggest completions."),
    Setting(
        "threshold",
        "number",
        0.9,
        "In fast decoding, how sure the exit agent must be before it stops early: higher keeps quality, lower saves layers.",
        minimum=0.5,
        maximum=1,
    ),
    Setting(
        "decoding",
        "string",
        "exact",
        "exact: tokens are guessed from the text around and by early exits, and the whole model verifies; "
        "the text is that of the whole model. fast: early exits decide the tokens, by the threshold. "
        "full: every layer for every token.",
        enum=("exact", "fast", "full"),
    ),
    Setting(
        "model",
        "string",
        "gemma-3-270m",
        "Model to complete with: a catalog name, a bundle of your own by its name, or a local folder.",
    ),
    Setting("languages", "array", ["python", "java"], "Language identifiers to complete in."),
    Setting(
        "trigger",
        "string",
        "automatic",
        "automatic: while typing. manual: only when asked for.",
        enum=("automatic", "manual"),
    ),
    Setting(
        "excludedFiles",
        "array",
        [
            "**/.env*",
            "**/*.pem",
            "**/*.key",
            "**/*.p12",
            "**/id_rsa*",
            "**/secrets.*",
            "**/.git/**",
        ],
        "Globs of files and folders that are never read for completions.",
    ),
    Setting("maxLines", "integer", 1, "Lines of a completion at most.", minimum=1, maximum=32),
    Setting(
        "maxPromptTokens",
        "integer",
        512,
        "Tokens of the text before the cursor that the model reads at most.",
        minimum=64,
        maximum=4096,
    ),
    Setting("pauseOnBattery", "boolean", False, "Pause while the machine runs on battery."),
    Setting("statusBar", "boolean", True, "Show the energy saved in the status bar."),
    Setting(
        "gridIntensity",
        "number",
        481.0,
        "Grams of CO2 (equivalent) per kilowatt-hour where you are, for the energy report; the default is the world's average in 2023 (Ember).",
        minimum=0,
        maximum=2000,
    ),
    Setting(
        "pythonPath",
        "string",
        "",
        "Python interpreter that has green-code installed; empty: the extension's own environment.",
        scope="machine",
    ),
)


@dataclass(frozen=True)
class Settings:
    """The values in force: a field per row of the table, in Python's spelling."""

    enabled: bool
    threshold: float
    decoding: Literal["fast", "exact", "full"]
    model: str
    languages: list[str]
    trigger: Literal["automatic", "manual"]
    excluded_files: list[str]
    max_lines: int
    max_prompt_tokens: int
    pause_on_battery: bool
    status_bar: bool
    grid_intensity: float
    python_path: str


_ROWS: Final = {row.name: row for row in TABLE}


def field_name(name: str) -> str:
    """A setting's name in Python's spelling: excludedFiles, excluded_files."""
    return re.sub(r"[A-Z]", lambda match: "_" + match.group().lower(), name)


def default_settings() -> Settings:
    """The table's defaults."""
    return parse_settings({})[0]


def parse_settings(values: Mapping[str, Any] | None) -> tuple[Settings, list[str]]:
    """Settings from JSON values by name without the prefix, and a message for each that is not used."""
    accepted: dict[str, Any] = {field_name(row.name): copy.copy(row.default) for row in TABLE}
    messages = []
    for name, value in (values or {}).items():
        row = _ROWS.get(name)
        if row is None:
            messages.append(f"{PREFIX}{name}: there is no such setting; it is ignored.")
        elif (fault := check_value(row, value)) is not None:
            messages.append(f"{PREFIX}{name}: {fault}; {row.default!r} is used.")
        else:
            accepted[field_name(name)] = float(value) if row.type == "number" else value
    return Settings(**accepted), messages


def check_value(row: Setting, value: Any) -> str | None:
    """What is wrong with a value, or None."""
    if not _has_type(row.type, value):
        expected = "array of strings" if row.type == "array" else row.type
        return f"{_shown(value)} is not of type {expected}"
    if row.enum is not None and value not in row.enum:
        return f"{_shown(value)} is none of {', '.join(row.enum)}"
    too_low = row.minimum is not None and value < row.minimum
    too_high = row.maximum is not None and value > row.maximum
    if too_low or too_high:
        return f"{_shown(value)} is outside {row.minimum:g} to {row.maximum:g}"
    return None


def _has_type(kind: Type, value: Any) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind == "string":
        return isinstance(value, str)
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
