"""The table of settings against package.json, and what becomes of bad values."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from green_code.settings import PREFIX, TABLE, Settings, default_settings, field_name, parse_settings

ROOT = Path(__file__).resolve().parents[2]


def manifest_properties() -> dict[str, Any]:
    manifest = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    configuration = manifest["contributes"]["configuration"]
    blocks = configuration if isinstance(configuration, list) else [configuration]
    return {name: value for block in blocks for name, value in block["properties"].items()}


def test_package_json_has_the_same_settings() -> None:
    """On failure change package.json or settings.py: the two are one list."""
    keys = ("type", "default", "scope", "minimum", "maximum", "most", "enum")
    declared = {
        PREFIX + row.name: {key: getattr(row, key) for key in keys[:-1]} | {"enum": row.enum and list(row.enum)}
        for row in TABLE
    }
    manifest = {
        name: {"scope": "window"} | {key: value.get(key) for key in keys if key != "scope" or key in value}
        for name, value in manifest_properties().items()
    }
    for name, value in manifest_properties().items():
        manifest[name]["most"] = value.get("maxLength", value.get("maxItems"))
    assert manifest == declared


def test_no_workspace_names_a_program_a_file_or_a_server() -> None:
    """Every text without a list of values may be a path, and each has machine scope. What a card leaves free is the machine's, too."""
    texts = {row.name for row in TABLE if row.type == "string" and row.enum is None}
    machine = {row.name for row in TABLE if row.scope == "machine"}
    assert texts == machine - {"gpuReserve"} == {"model", "endpoint", "pythonPath"}


def test_fields_follow_the_table() -> None:
    assert [field.name for field in fields(Settings)] == [*(field_name(row.name) for row in TABLE), "by_language"]


def test_defaults_and_good_values() -> None:
    assert parse_settings(None) == (default_settings(), [])
    settings, problems = parse_settings(
        {"threshold": 1, "decoding": "exact", "languages": [], "maxLines": 32, "excludedFiles": ["*.sql"]}
    )
    assert problems == []
    assert (settings.threshold, settings.decoding, settings.languages) == (1.0, "exact", [])
    assert (settings.max_lines, settings.excluded_files) == (32, ["*.sql"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enabled", "yes"),
        ("enabled", 1),
        ("threshold", 0.2),
        ("threshold", 1.01),
        ("threshold", "quality"),
        ("threshold", True),
        ("threshold", float("nan")),
        ("decoding", "slow"),
        ("model", None),
        ("languages", "python"),
        ("languages", ["python", 3]),
        ("trigger", ["manual"]),
        ("maxLines", 0),
        ("maxLines", 1.5),
        ("maxPromptTokens", 5000),
        ("pythonPath", {}),
        ("model", "x" * 4097),
        ("model", "a\0b"),
        ("languages", ["x"] * 257),
        ("excludedFiles", ["*.sql"] * 257),
        ("excludedFiles", [["*.sql"]]),
        ("gridIntensity", 10**400),
        ("threshold", [[[[[[]]]]]] * 10_000),
        ("x" * 60, 1),
        ("threshhold", 0.9),
    ],
)
def test_a_bad_value_keeps_the_default_and_its_key_is_named(name: str, value: Any) -> None:
    settings, problems = parse_settings({name: value, "statusBar": False})
    assert len(problems) == 1 and f"greenCode.{name}"[:60] in problems[0] and len(problems[0]) < 400
    assert settings == parse_settings({"statusBar": False})[0]


def test_defaults_are_not_shared() -> None:
    default_settings().languages.append("cobol")
    assert "cobol" not in default_settings().languages


def test_a_language_may_have_its_own() -> None:
    settings, problems = parse_settings(
        {"[java]": {"completeInComments": False}, "[go]": {}, "completeInStrings": False}
    )
    assert problems == []
    java, python = settings.of_language("java"), settings.of_language("python")
    assert (java.complete_in_comments, java.complete_in_strings) == (False, False)
    assert (python.complete_in_comments, python.complete_in_strings) == (True, False)
    assert settings.of_language("go") == python


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"completeInComments": "no"}, "greenCode.[java].completeInComments: 'no' is not of type boolean"),
        ({"maxLines": 3}, "greenCode.[java].maxLines: it cannot differ by language"),
        ({"frobnicate": 1}, "greenCode.[java].frobnicate: there is no such setting"),
        (False, "greenCode.[java]: there is no such setting"),
    ],
)
def test_what_a_language_may_not_have_is_named(own: Any, message: str) -> None:
    settings, [problem] = parse_settings({"[java]": own})
    assert problem.startswith(message)
    assert settings.of_language("java").complete_in_comments is True
