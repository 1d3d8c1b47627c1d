"""What the user has rejected does not return on its line."""

from __future__ import annotations

import pytest

from green_code.lsp.dismissed import Dismissed
from green_code.lsp.documents import Edit

URI = "file:///a.py"


@pytest.fixture
def escaped() -> Dismissed:
    """`x = self.▌`, with `items.pop()` dismissed by Escape."""
    dismissed = Dismissed()
    dismissed.add(URI, 3, "x = self.", "items.pop()", by_hand=True)
    return dismissed


@pytest.mark.parametrize(
    ("before", "text", "returns"),
    [
        ("x = self.", "items.pop()", False),
        ("x = self.", " items.pop() ", False),
        ("x = self.", "items.pop", False),
        ("x = self.", "items.pop()\n    return x", False),
        ("x = self.it", "ems.pop()", False),
        ("x = self", ".items.pop()", False),
        ("x = self.y + self.", "items.pop()", False),
        ("x = self.", "values", True),
        ("x = self.c", "ount", True),
        ("x = self.items.pop()", " + 1", True),
    ],
)
def test_escape(escaped: Dismissed, before: str, text: str, returns: bool) -> None:
    assert escaped.has(URI, 3, before, text) is not returns


def test_going_on_otherwise() -> None:
    dismissed = Dismissed()
    dismissed.add(URI, 0, "x = ", "self.items", by_hand=False)
    assert dismissed.has(URI, 0, "x = y + ", "self.items")
    assert not dismissed.has(URI, 0, "x = ", "self.items"), "what was typed instead was an error, and is deleted"
    dismissed.add(URI, 0, "if x", ":", by_hand=False)
    assert not dismissed.has(URI, 0, "if x > 0", ":"), "short texts are right further on"


def test_it_ends_when_the_line_is_left(escaped: Dismissed) -> None:
    assert not escaped.has(URI, 4, "x = self.", "items.pop()")
    assert not escaped.has(URI, 3, "x = self.", "items.pop()")


def test_another_document_is_another_line(escaped: Dismissed) -> None:
    assert not escaped.has("file:///b.py", 3, "x = self.", "items.pop()")


def test_it_follows_its_line(escaped: Dismissed) -> None:
    escaped.follow(URI, Edit(0, 0, 3))
    escaped.follow(URI, Edit(8, 9, 1))
    escaped.follow("file:///b.py", Edit(0, 0, 5))
    escaped.follow(URI, Edit(5, 5, 1))
    assert escaped.has(URI, 5, "x = self.", "items.pop()")


def test_a_line_that_is_cut_in_two_is_another(escaped: Dismissed) -> None:
    escaped.follow(URI, Edit(3, 3, 2))
    assert not escaped.has(URI, 3, "x = self.", "items.pop()")
