"""Where an unsure completion is cut. A case: text before the cursor, text so far, text of the refused token, text that is shown."""

from __future__ import annotations

import pytest

from green_code.decoding.cutting import cut
from green_code.decoding.stop_rules import Situation

CASES = [
    # an identifier is whole where the refused token does not go on with it
    ("x = ", "first + sec", "ond", "first +"),
    ("x = ", "first + second", " * 2", "first + second"),
    ("x = ", "first + second", "(a)", "first + second"),
    ("x = se", "lf.compute_", "all", "lf."),
    ("x = ", "größe + näch", "ste", "größe +"),
    ("x = ", "12345", "6", ""),
    ("total_", "count", "er", ""),  # the identifier began before the cursor
    # an escape in a string
    ('x = "', "one\\ntwo\\", "n", "one\\ntwo"),
    ('x = "', "one\\\\", "n", "one\\\\"),
    ('x = "', "one \\u00", "e9", "one"),
    ('x = "', "one \\N{LATIN SMALL", " LETTER", "one"),
    ('x = "one\\', "ntwo", " three", "ntwo"),  # the escape began before the cursor
    ('x = "one\\', "", "n", ""),
    # brackets that the text itself has opened
    ("x = ", "first(second, ", "third", "first"),
    ("x = ", "first(second), third[", "0", "first(second), third"),
    ("x = ", "first(second(a), b", ".c", "first"),
    ("x = first(", "second, ", "third", "second,"),
    ("x = first(", "second)", "[0]", "second)"),
    # and strings
    ("x = ", 'first + "(one', " two", "first +"),
    ('x = "', "(one", " two", "(one"),
    ('x = "', 'one" + second + "third', " two", 'one" + second +'),
    # an identifier in a bracket
    ("x = ", "first(sec", "ond)", "first"),
    # blanks
    ("x =", " first ", "+", " first"),
    ("if x:", "\n    return\n\n", "else", "\n    return"),
    # too little to show
    ("x = ", "ab", " + c", ""),
    ("x =", "  ab  ", "+ c", ""),
    ("x = ", "", "first", ""),
    ("x = ", "abc", ".d", "abc"),
]


@pytest.mark.parametrize(("before", "text", "refused", "shown"), CASES)
def test_nothing_half_written_is_shown(before: str, text: str, refused: str, shown: str) -> None:
    at = Situation.at(before, "", single_line=False, max_lines=8)
    assert cut(text, refused, at, 0) == shown


@pytest.mark.parametrize(
    ("text", "sure", "shown"),
    [
        ("first.second_", 13, "first.second_"),
        ("first.second_th", 13, "first.second_"),
        ("first.second_th", 4, "first."),
        ("first(second_", 13, "first"),
        ("ab", 2, ""),
    ],
)
def test_an_identifier_that_is_sure_is_shown_as_it_is(text: str, sure: int, shown: str) -> None:
    assert cut(text, "on", Situation.at("", "", single_line=False, max_lines=8), sure) == shown
