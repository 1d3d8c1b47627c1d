"""What Tab leaves, case by case: a user's document, the model's text, and the document that the user would want.

`insertion_cases.jsonl` has one case a line: `before` and `after` the cursor, the model's `raw` text, what is `shown` of it (null:
nothing) and the `document` after Tab. They run through the front, with an engine that answers as they say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from green_code.lsp.documents import units_of
from tests.lsp.front_window import Window, result

pytestmark = pytest.mark.usefixtures("private_folders")

CASES = [
    json.loads(line) for line in (Path(__file__).with_name("insertion_cases.jsonl")).read_text("utf-8").splitlines()
]


def after_tab(case: dict[str, Any], end: str = "\n") -> tuple[str, str | None]:
    """The document, and the text that was inserted."""
    before, after = (case[name].replace("\n", end) for name in ("before", "after"))
    window = Window()
    window.front.configure({"languages": [case["language"]]})
    window.front.open("file:///case", case["language"], before + after)
    window.engine.answers = [result(case["raw"])]
    line, column = before.count("\n"), units_of(before.rpartition("\n")[2], "utf-16")
    suggestion = window.complete(line, column, not case.get("by_hand"), "file:///case")
    assert len(window.engine.requests) == 1, "no guard stands before it"
    if suggestion is None:
        assert window.reason()[0] == "breaks_code"
        return case["before"] + case["after"], None
    rest = after.encode("utf-16-le")[2 * suggestion["replaced"] :].decode("utf-16-le")
    return (before + suggestion["text"] + rest).replace("\r\n", "\n"), suggestion["text"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['language']}-{case['about']}".replace(" ", "_"))
def test_what_tab_leaves(case: dict[str, Any]) -> None:
    document, text = after_tab(case)
    assert (document, text is None) == (case["document"], case["shown"] is None)
    if text is not None:
        assert text.startswith(case["shown"][:1]) and text == text.rstrip()
    assert after_tab(case, "\r\n")[0] == case["document"]


def test_there_are_cases_enough() -> None:
    assert len(CASES) >= 120 and len({case["language"] for case in CASES}) >= 8
    for case in CASES:
        assert (case["document"] == case["before"] + case["after"]) == (case["shown"] is None)
