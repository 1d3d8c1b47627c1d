"""Guards as a table: what is refused, why, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from green_code.lsp import guards
from green_code.lsp.explain import Detail, explain
from green_code.settings import default_settings, parse_settings

FINE = guards.Situation(
    settings=default_settings(),
    language="python",
    path="/home/me/project/src/main.py",
    workspace_folders=["/home/me/project"],
    automatic=True,
    list_open=False,
    before="    return ",
    after="",
    characters=1000,
    nul_characters=0,
    on_battery=lambda: False,
    inside=lambda: None,
)


def situation(settings: dict[str, Any] | None = None, **changes: Any) -> guards.Situation:
    return replace(FINE, settings=parse_settings(settings)[0], **changes)


PASSED = [
    situation(),
    situation({"trigger": "manual"}, automatic=False),
    situation({"languages": ["cobol"]}, language="cobol"),
    situation(list_open=True, automatic=False),
    situation({"pauseOnBattery": True}),
    situation(on_battery=lambda: True),
    situation(before="foo", after=")"),
    situation(before="foo(", after="bar"),
    situation(path="/home/me/project/environment.py"),
    situation(characters=guards.FILE_CHARACTERS_AT_MOST),
    situation(before="x" * guards.LINE_CHARACTERS_AT_MOST),
    situation(inside=lambda: pytest.fail("this need not be known")),
    situation({"completeInComments": False}),
    situation({"completeInComments": False}, inside=lambda: "string"),
    situation({"completeInStrings": False}, inside=lambda: "comment"),
]

REFUSED = [
    (situation({"enabled": False}), "disabled", "greenCode.enabled"),
    (situation(language="cobol"), "filtered", "cobol"),
    (situation(path="/home/me/project/.env"), "filtered", "**/.env*"),
    (situation(path="/home/me/project/.ENV.local"), "filtered", "**/.env*"),
    (situation(path="/home/me/.ssh/id_rsa_work"), "filtered", "**/id_rsa*"),
    (situation(path="/srv/secrets.py"), "filtered", "**/secrets.*"),
    (situation(path="/home/me/project/.git/hooks/pre-commit.py"), "filtered", "**/.git/**"),
    (situation({"excludedFiles": ["src/*.py"]}), "filtered", "src/*.py"),
    (situation({"excludedFiles": ["main.*"]}), "filtered", "main.*"),
    (situation({"trigger": "manual"}), "filtered", "greenCode.trigger"),
    (situation(list_open=True), "filtered", "list of completions"),
    (situation({"pauseOnBattery": True}, on_battery=lambda: True), "paused_on_battery", "battery"),
    (situation(nul_characters=1), "filtered", "NUL"),
    (situation(characters=guards.FILE_CHARACTERS_AT_MOST + 1), "filtered", "2,000,001"),
    (situation(before="x" * 6000, after="y" * 4001), "filtered", "10,001"),
    (situation(before="fo", after="o"), "filtered", "inside a word"),
    (situation(before="né", after="é_x"), "filtered", "inside a word"),
    (situation({"completeInComments": False}, inside=lambda: "comment"), "in_comment", "completeInComments"),
    (situation({"completeInStrings": False}, inside=lambda: "string"), "in_string", "off for python"),
    # The order: `disabled` comes before a wrong language, and an excluded file is called so whatever its language is.
    (situation({"enabled": False}, language="cobol"), "disabled", "greenCode.enabled"),
    (situation(language="dotenv", path="/a/.env.py"), "filtered", "**/.env*"),
]


@pytest.mark.parametrize("now", PASSED)
def test_passes(now: guards.Situation) -> None:
    assert guards.first_refusal(now) is None


@pytest.mark.parametrize(("now", "reason", "detail"), REFUSED)
def test_refuses(now: guards.Situation, reason: str, detail: str) -> None:
    refused = guards.first_refusal(now)
    assert refused is not None and refused.reason == reason
    said = explain(refused.reason, Detail(refused.code, refused.values), None, None)
    assert detail in said["message"] + said["action"] and "{" not in said["message"]


def test_every_guard_is_in_the_table_and_refuses_something() -> None:
    named = (value for name, value in vars(guards).items() if name.startswith("is_"))
    functions = {value for value in named if value.__module__ == guards.__name__}
    assert functions == set(guards.GUARDS)
    assert {guard for guard in guards.GUARDS for now, *_ in REFUSED if guard(now)} == functions
