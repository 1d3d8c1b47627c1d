"""Stop rules. A case: text before the cursor, text after it, generated text, kept text, reason."""

from __future__ import annotations

import pytest

from green_code.decoding.stop_rules import Situation, check

CASES = [
    # one line
    ("x = ", "", "1\ny", "1", "end_of_line"),
    # on a blank line the first break does not count
    ("    ", "", "\n    return 1\n", "\n    return 1", "end_of_line"),
    ("def f(", "", "a, b):\n", "a, b):", "end_of_line"),
    # the bracket that the editor has put after the cursor
    ("foo(", ")", "a, b)", "a, b", "closing_bracket"),
    ("foo(", ")", "bar(a)", None, None),
    # not a bracket of the line that the completion closes
    ("foo(bar[", ")", "x], baz(1))", "x], baz(1)", "closing_bracket"),
    ("foo(", "", "a)", None, None),
    # the text after the cursor closes the outer ones of the open brackets
    ("foo(bar(", ")", "x))", "x)", "closing_bracket"),
    ("foo(bar(", "))", "int(x)))", "int(x)", "closing_bracket"),
    ("foo(bar(", ") + baz(1)", "x))", "x)", "closing_bracket"),
    # a bracket in a string does not count
    ("text.split(", ")", '")"', None, None),
    ("text.split(", ")", '")")', '")"', "closing_bracket"),
    ("text.split(", ")", '"(")', '"("', "closing_bracket"),
    ('print("', '")', "1) first", None, None),
    ("f('it\\'s (', ", ")", "1)", "1", "closing_bracket"),
    # the bracket's partner is on a later line
    ("items.forEach((", ") => {\n  x();\n});", "item) => item.save());", "item", "closing_bracket"),
    ("join(dirname(", "),\n    'x')", "__file__))", "__file__", "closing_bracket"),
    # a quote in a comment does not count
    ("# It's faster (see ", ")", "below).", "below", "closing_bracket"),
    ("x = 1  # a user's (see ", ")", "users' guide).", "users' guide", "closing_bracket"),
    (" * It's faster (see ", ")", "John's).", "John's", "closing_bracket"),
    ("f(r'", "')", "x (')", "x (", "suffix_reached"),
    # the text after the cursor on this line
    ("x = ", " + 1", "y + 1", "y ", "suffix_reached"),
    ('print("', '")', 'hello")', "hello", "suffix_reached"),
    # the completion's own end is like the text after the cursor
    ("foo(bar(", "))", "int(float(x))", None, None),
    ("submit(", ");", "() -> { doWork();", None, None),
    ('print("', '")', 'a" + f("b")', None, None),
]
BLOCK_CASES = [
    ("    if x:", "", "\n        return 1\nprint(2)\n", "\n        return 1", "end_of_block"),
    ("if x:", "\n    return 2\n", "\n    y = 1\n    return 2\n", "\n    y = 1", "suffix_reached"),
    # the same line in a deeper block is another one
    ("    ", "\n    return None\n", "if x is None:\n        return None\n", None, None),
    (
        'def f():\n    """',
        '"""\n    pass\n',
        'One.\n\n    More (than two).\n    """',
        "One.\n\n    More (than two).\n    ",
        "suffix_reached",
    ),
    ("", "", "a = 1\na = 1\n", "a = 1", "repetition"),
    ("# ", "", "-" * 32, None, None),  # a separator
    ("# ", "", "-" * 80, "-" * 80, "repetition"),
    ("x = ", "", "ab" * 6, "ab", "repetition"),
    ("", "", "a\nb\na\nb\nc", "a\nb", "repetition"),
    ("x = ", "", "[0, 0, 0, 0, 0, 0, 0", "[0, 0", "repetition"),
    ("return ", "", "width + height + height + height", "width + height", "repetition"),
    ("    a", ")\n", ", b)", ", b", "closing_bracket"),  # opened on an earlier line
    ("return ", "", "first.total + first.total * 2", None, None),
    ("if x:", "", "\n    a = 1\n    b = 2\n", None, None),
]


@pytest.mark.parametrize(("prefix", "suffix", "text", "kept", "reason"), CASES)
def test_single_line(prefix: str, suffix: str, text: str, kept: str | None, reason: str | None) -> None:
    assert_stop(Situation.at(prefix, suffix, True, 1), text, kept, reason)


@pytest.mark.parametrize(("prefix", "suffix", "text", "kept", "reason"), BLOCK_CASES)
def test_block(prefix: str, suffix: str, text: str, kept: str | None, reason: str | None) -> None:
    assert_stop(Situation.at(prefix, suffix, False, 8), text, kept, reason)


def assert_stop(situation: Situation, text: str, kept: str | None, reason: str | None) -> None:
    stop = check(text, situation)
    assert (stop and stop[0]) == reason
    if stop and kept is not None:
        assert text[: stop[1]] == kept


def test_blank_lines_before_the_line_do_not_stop_it() -> None:
    """Checked after every character."""
    situation, text = Situation.at("x = 1\n", "", True, 1), "\n\ny = 2\n"
    stops = [check(text[:length], situation) for length in range(1, len(text) + 1)]
    assert stops == [None] * (len(text) - 1) + [("end_of_line", len(text) - 1)]


def test_no_more_than_max_lines() -> None:
    stop = check("\n    a\n    b\n    c", Situation.at("if x:", "", False, 2))
    assert stop == ("end_of_block", len("\n    a"))
