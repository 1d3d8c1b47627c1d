"""The gate's features: bounded for any text, and as a reader of the place would expect."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.lsp.gate_features import NAMES, History, OutcomeHistory, Place, features

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
CODE = st.text(st.sampled_from("ab_1 \t\n.,()[]{}'\"`=:;#/*\\é中😀\u200d\f\0"), max_size=60) | st.text(max_size=40)


def at(prefix: str, suffix: str = "\n", language: str = "python", **other: object) -> dict[str, float]:
    place = Place(language, prefix, suffix, line=prefix.count("\n"), lines=10, **other)  # type: ignore[arg-type]
    return dict(zip(NAMES, features(place), strict=True))


def on(found: dict[str, float], group: str) -> list[str]:
    """The names of a group that are 1."""
    return [name.removeprefix(group) for name, value in found.items() if name.startswith(group) and value == 1.0]


@given(CODE, CODE, st.text(max_size=8), st.integers(), st.integers(), ANY_FLOAT, ANY_FLOAT, st.integers(), ANY_FLOAT)
def test_any_place_has_bounded_features(
    prefix: str, suffix: str, language: str, line: int, lines: int, pause: float, mean: float, rejected: int, ago: float
) -> None:
    history = History(last_outcome=mean, mean_outcome=mean, rejected_on_line=rejected, seconds_since_taken=ago)
    found = features(Place(language, prefix, suffix, line, lines, pause, history))
    assert len(found) == len(NAMES) == len(set(NAMES))
    assert all(-3.0 <= value <= 3.0 for value in found)


@given(CODE, CODE)
def test_what_is_far_away_changes_nothing_but_the_position(prefix: str, suffix: str) -> None:
    near = "x = 1\n" * 2_000 + prefix
    one = Place("java", near, suffix + "\n", 7, 90)
    other = Place("java", "class Far {\n" * 1_000 + near, suffix + "\nfar" * 1_000, 7, 90)
    assert features(one) == features(other)


def test_long_lines_and_files_take_bounded_work() -> None:
    for prefix in ("x" * 10_000_000, "ab " * 10_000, "(" * 20_000, "\n" * 20_000, " " * 9_000 + "a" * 1_000):
        assert all(math.isfinite(value) for value in features(Place("java", prefix, prefix, 0, 1)))


def test_the_characters_beside_the_cursor() -> None:
    assert on(at("x = foo."), "last_") == ["dot"] and on(at("x = foo."), "second_last_") == ["letter"]
    assert on(at(""), "last_") == ["line_start"] and on(at("a\n    "), "last_") == ["indent"]
    for end, kind in {
        "_": "underscore",
        "7": "digit",
        "a ": "blank",
        "(": "opening",
        "]": "closing",
        "'": "quote",
    }.items():
        assert kind in on(at("x" + end), "last_"), end
    assert on(at("f(", ")\n"), "after_") == ["closers"] and on(at("f(", "x)\n"), "after_") == ["text"]
    assert on(at("f(", "  \nnext"), "after_") == ["nothing"]


def test_the_line_and_the_one_before_it() -> None:
    assert on(at("    return "), "keyword_") == ["value"] and on(at("    return x "), "keyword_") == []
    assert at("# say")["in_comment"] == 1 and at("say = 1")["in_comment"] == 0
    assert at("x = 'a")["in_string"] == 1 and at("x = 'a'")["in_string"] == 0 and at("x = 'a\\'")["in_string"] == 1
    assert at("def f():\n\n    ")["previous_opens_block"] == 1
    assert at("def f():\n    ")["indentation_change"] == 1
    assert at("import os\nimport ")["same_first_word"] == 1 and at("import os\nx = ")["same_first_word"] == 0
    assert at("f(a[")["open_brackets"] == 2


@pytest.mark.parametrize(
    ("language", "feature"),
    [
        ("python", "python"),
        ("rust", "rust"),
        ("typescriptreact", "typescript"),
        ("cuda-cpp", "cpp"),
        ("json", "other"),
        ("x", "other"),
    ],
)
def test_each_language_of_a_corpus_has_a_feature(language: str, feature: str) -> None:
    assert on(at("x", language=language), "language_") == [feature]


def test_the_word_being_typed_is_looked_for_before() -> None:
    found = at("result = 1\nres = 2\npresent = 3\nres")
    assert found["word_begins_others"] == math.log1p(1) and found["word_seen"] == math.log1p(1)
    assert at("result = 1\nr")["word_begins_others"] == 0, "a single letter tells nothing"
    assert at("count = 1\n" * 400 + "count")["word_seen"] == at("count = 1\n" * 15 + "count")["word_seen"]


def test_history_counts_by_line_and_place() -> None:
    history = OutcomeHistory()
    assert history.at("a", 1, "x = ", 5.0) == History()
    history.record("a", 1, "x = ", taken=False, now=5.0)
    history.record("a", 1, "x = 1 + ", taken=False, now=6.0)
    here = history.at("a", 1, "x = ", 7.0)
    assert here.rejected_here and here.rejected_on_line == 2 and here.last_outcome == -1 and here.mean_outcome < 0
    assert not history.at("b", 1, "x = ", 7.0).rejected_here, "another document"
    assert history.at("a", 2, "x = 1\n", 7.0).rejected_on_line == 0
    history.record("a", 2, "y = ", taken=True, now=8.0)
    after = history.at("a", 2, "y = f", 10.0)
    assert after.last_outcome == 1 and after.seconds_since_taken == 2 and not after.rejected_here
    assert history.at("a", 2, "y = f", -10.0).seconds_since_taken == 0, "a clock that went back"
