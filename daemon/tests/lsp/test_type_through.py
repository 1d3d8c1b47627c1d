"""What is found again continues the text at the cursor as the engine's own answer does; all else is asked anew."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from green_code.link.messages import CompletionParams
from green_code.lsp.type_through import KEPT, TypeThrough

ANSWER: Any = {"id": "row", "reason": "end_of_line", "text": "self.items[name]"}


def question(prefix: str, **changes: Any) -> CompletionParams:
    asked: Any = {"prefix": prefix, "suffix": "\nx", "threshold": 0.9, "session": "a", **changes}
    return asked


def left(given: TypeThrough, prefix: str, **changes: Any) -> str | None:
    found = given.find(question(prefix, **changes))
    return None if found is None else found["text"]


def test_typing_along_and_back_shows_what_is_left() -> None:
    given = TypeThrough()
    given.remember(question("return "), ANSWER)
    assert left(given, "return self.") == "items[name]"
    assert left(given, "return self.items[name") == "]"
    assert left(given, "return ") == ANSWER["text"]  # deleted back, or undone
    found = given.find(question("return s"))
    assert found is not None and found["id"] == "row"  # accepting it is accepting the one that was made


def test_what_does_not_agree_is_asked_anew() -> None:
    given = TypeThrough()
    given.remember(question("return "), ANSWER)
    for prefix in ("return x", "return self.items[name]", "return", "eturn ", "return self.items[name]  "):
        assert left(given, prefix) is None
    assert left(given, "return s", suffix=")\nx") is None  # no bracket was opened
    given.forget()
    assert left(given, "return ") is None


def test_the_rest_ends_before_what_the_editor_has_closed() -> None:
    given = TypeThrough()
    given.remember(question("x = "), {**ANSWER, "text": 'f(a[0], "b c") + 1'})
    assert left(given, "x = f(", suffix=")\nx") == 'a[0], "b c"'
    assert left(given, "x = f(a[", suffix="])\nx") is None  # two closed at once: the engine is asked
    assert left(given, 'x = f(a[0], "', suffix='"\nx') == "b c"
    assert left(given, "x = f(a", suffix=")\ny") is None  # another text after that
    assert left(given, "x = f(", suffix="]\nx") is None


def test_the_text_after_the_cursor_may_be_cut() -> None:
    """The front sends so many characters of it: with a bracket before them, one less of the others."""
    given = TypeThrough()
    given.remember(question("x = ", suffix="\nabcdef"), {**ANSWER, "text": "f(a)"})
    assert left(given, "x = f(", suffix=")\nabcde") == "a"


def test_settings_are_a_part_of_the_question() -> None:
    given = TypeThrough()
    given.remember(question("return "), ANSWER)
    assert left(given, "return s", threshold=0.8) is None


def test_the_newest_counts_and_the_oldest_go() -> None:
    given = TypeThrough()
    given.remember(question("r"), {**ANSWER, "text": "eturn 1"})
    given.remember(question("re"), {**ANSWER, "text": "turn 2"})
    assert left(given, "ret") == "urn 2"
    for i in range(KEPT - 1):
        given.remember(question(f"{i} "), ANSWER)
    assert left(given, "r") is None and left(given, "re") == "turn 2"


LETTERS = st.text("ab ", max_size=4)


@given(st.lists(st.tuples(LETTERS, LETTERS), max_size=8), LETTERS)
def test_what_is_shown_continues_the_text_as_some_answer_did(
    answers: list[tuple[str, str]], now: str
) -> None:
    given = TypeThrough()
    for prefix, text in answers:
        given.remember(question(prefix), {**ANSWER, "text": text})
    wholes = {prefix + text for prefix, text in answers if now.startswith(prefix)}
    shown = left(given, now)
    if shown is None:
        assert not any(whole.startswith(now) and whole[len(now) :].strip() for whole in wholes)
    else:
        assert shown.strip() and now + shown in wholes
