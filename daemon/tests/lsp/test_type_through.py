"""What is found again continues the text at the cursor as the engine's own answer does; all else goes to the engine."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from green_code.link.messages import CompletionParams
from green_code.lsp.type_through import REMEMBERED, TypeThrough

ANSWER: Any = {"id": "row", "reason": "end_of_line", "text": "self.items[name]", "alternatives": []}


def params(prefix: str, **changes: Any) -> CompletionParams:
    made: Any = {"prefix": prefix, "suffix": "\nx", "threshold": 0.9, "session": "a", **changes}
    return made


def left(recent: TypeThrough, prefix: str, **changes: Any) -> str | None:
    found = recent.find(params(prefix, **changes))
    return None if found is None else found["text"]


def test_typing_along_and_back_shows_what_is_left() -> None:
    recent = TypeThrough()
    recent.add(params("return "), ANSWER)
    assert left(recent, "return self.") == "items[name]"
    assert left(recent, "return self.items[name") == "]"
    assert left(recent, "return ") == ANSWER["text"]  # deleted back, or undone
    found = recent.find(params("return s"))
    assert found is not None and found["id"] == "row"  # accepting it is accepting the one that was made


def test_what_does_not_agree_goes_to_the_engine() -> None:
    recent = TypeThrough()
    recent.add(params("return "), ANSWER)
    for prefix in ("return x", "return self.items[name]", "return", "eturn ", "return self.items[name]  "):
        assert left(recent, prefix) is None
    assert left(recent, "return s", suffix=")\nx") is None  # no bracket was opened
    recent.clear()
    assert left(recent, "return ") is None


def test_brackets_and_quotes_that_the_editor_closes_or_that_are_typed_over_are_no_difference() -> None:
    recent = TypeThrough()
    recent.add(params("x = "), {**ANSWER, "text": 'f(a[0], "b c") + 1'})
    assert left(recent, "x = f(", suffix=")\nx") == 'a[0], "b c") + 1'
    assert left(recent, "x = f(a[", suffix="])\nx") == '0], "b c") + 1'
    assert left(recent, 'x = f(a[0], "', suffix='")\nx') == 'b c") + 1'
    assert left(recent, "x = f(a", suffix=")\ny") is None  # another text after that
    assert left(recent, "x = f(", suffix="]\nx") is None  # never opened
    recent.add(params("y = f(", suffix=")\nx"), {**ANSWER, "text": "a) + 1"})
    assert left(recent, "y = f(a)") == " + 1"
    assert left(recent, "y = f(a") is None  # the bracket was deleted


def test_the_text_after_the_cursor_may_be_cut() -> None:
    """The front sends so many characters of it: with a bracket before them, one less of the others."""
    recent = TypeThrough()
    recent.add(params("x = ", suffix="\nabcdef"), {**ANSWER, "text": "f(a)"})
    assert left(recent, "x = f(", suffix=")\nabcde") == "a)"


def test_other_settings_need_the_engine() -> None:
    recent = TypeThrough()
    recent.add(params("return "), ANSWER)
    assert left(recent, "return s", threshold=0.8) is None


def test_a_request_by_hand_gets_nothing_that_was_cut_and_features_of_the_place_are_no_difference() -> None:
    recent = TypeThrough()
    recent.add(params("return ", stop="balanced", place=[1.0]), ANSWER)
    assert left(recent, "return s", stop=0.0) is None and left(recent, "return s", stop="eager") is None
    assert left(recent, "return s", stop="balanced", place=[0.0]) == "elf.items[name]"
    recent.add(params("yield ", stop=0.0), ANSWER)
    assert left(recent, "yield s", stop="balanced") == "elf.items[name]", "what was asked by hand can be typed along"
    assert left(recent, "yield s", stop="balanced", threshold=0.8) is None


def test_alternatives_go_on_where_what_was_typed_is_their_beginning() -> None:
    recent = TypeThrough()
    recent.add(params("return ", stop=0.0, alternatives=2), {**ANSWER, "alternatives": ["self.total", "None", "se"]})
    found = recent.find(params("return se", stop="balanced", alternatives=0))
    assert found is not None and (found["text"], found["alternatives"]) == ("lf.items[name]", ["lf.total"])


def test_what_a_time_limit_cut_is_not_kept() -> None:
    recent = TypeThrough()
    recent.add(params("return "), {**ANSWER, "reason": "budget"})
    assert left(recent, "return ") is None


def test_the_newest_counts_and_the_oldest_go() -> None:
    recent = TypeThrough()
    recent.add(params("r"), {**ANSWER, "text": "eturn 1"})
    recent.add(params("re"), {**ANSWER, "text": "turn 2"})
    assert left(recent, "ret") == "urn 2"
    for i in range(REMEMBERED - 1):
        recent.add(params(f"{i} "), ANSWER)
    assert left(recent, "r") is None and left(recent, "re") == "turn 2"


LETTERS = st.text("ab ", max_size=4)


@given(st.lists(st.tuples(LETTERS, LETTERS), max_size=8), LETTERS)
def test_what_is_shown_continues_the_text_as_some_answer_did(answers: list[tuple[str, str]], now: str) -> None:
    recent = TypeThrough()
    for prefix, text in answers:
        recent.add(params(prefix), {**ANSWER, "text": text})
    wholes = {prefix + text for prefix, text in answers if now.startswith(prefix)}
    shown = left(recent, now)
    if shown is None:
        assert not any(whole.startswith(now) and whole[len(now) :].strip() for whole in wholes)
    else:
        assert shown.strip() and now + shown in wholes
