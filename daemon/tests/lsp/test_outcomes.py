"""Each character and each suggestion counts once, whatever the order in which an editor edits and reports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.lsp.documents import Document, Span, with_newlines
from green_code.lsp.outcomes import Outcomes, Shown

URI = "file:///a.py"


class Editor:
    """A document with a cursor, whose suggestions are watched."""

    def __init__(self, text: str, line: int = 0) -> None:
        self.now = 100.0
        self.document = Document(URI, "python", text, "utf-32")
        self.line, self.index = line, len(self.document.lines[line].rstrip("\r\n"))
        self.accepted: list[tuple[str, int]] = []
        self.results: list[tuple[str, bool]] = []
        self.gone: list[str] = []
        self.outcomes = Outcomes(
            lambda shown, characters: self.accepted.append((shown.row_id, characters)),
            lambda shown, taken, now: self.results.append((shown.row_id, taken)),
            lambda shown: self.gone.append(shown.row_id),
        )

    @property
    def prefix(self) -> str:
        lines = self.document.lines
        return with_newlines("".join(lines[: self.line]) + lines[self.line][: self.index])

    def show(
        self,
        text: str,
        row_id: str = "a",
        is_current: bool = True,
        replaced: int = 0,
        others: tuple[tuple[str, int], ...] = (),
    ) -> bool:
        before = self.document.lines[self.line][: self.index]
        shown = Shown(row_id, URI, self.line, before, self.prefix, text, (), self.now, replaced, others)
        return self.outcomes.show(shown, is_current)

    def edit(self, start: tuple[int, int], end: tuple[int, int], text: str) -> None:
        edit = self.document.apply(Span(*start, *end), text)
        self.outcomes.change(URI, start, end, with_newlines(text), edit, self.now)

    def insert(self, text: str, after: float = 1.0) -> None:
        """At the cursor, which moves behind it."""
        self.now += after
        here = (self.line, self.index)
        self.edit(here, here, text)
        lines = with_newlines(text).split("\n")
        self.index = len(lines[-1]) + (self.index if len(lines) == 1 else 0)
        self.line += len(lines) - 1

    def type(self, text: str, after: float = 0.1) -> None:
        for character in text:
            self.insert(character, after)

    def backspace(self, characters: int = 1) -> None:
        self.now += 0.1
        self.edit((self.line, self.index - characters), (self.line, self.index), "")
        self.index -= characters


def test_accepted_whole_as_vs_code_does_it() -> None:
    """The edit first, then the command."""
    editor = Editor("x = \n")
    editor.show("first()")
    editor.insert("first()")
    editor.outcomes.accept("a", 7, editor.now)
    assert editor.accepted == [("a", 7)] and editor.results == [("a", True)] and editor.gone == []


def test_an_alternative_is_accepted_like_the_first() -> None:
    editor = Editor("x = \n")
    editor.show("first()", others=(("second", 0), ("third", 0)))
    editor.insert("third")
    editor.outcomes.accept("a", 5, editor.now)
    assert editor.accepted == [("a", 5)] and editor.results == [("a", True)] and editor.gone == []


def test_accepted_whole_by_an_editor_that_reports_before_the_edit() -> None:
    editor = Editor("x = \n")
    editor.show("first()")
    editor.outcomes.accept("a", None, editor.now)
    editor.insert("first()")
    assert editor.accepted == [("a", 7)] and editor.results == [("a", True)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_several_lines(end: str) -> None:
    editor = Editor(f"def f():{end}    {end}", line=1)
    editor.show("if x:\n        return 1")
    editor.insert(f"if x:{end}        return 1")
    editor.outcomes.accept("a", 23, editor.now)
    assert editor.accepted == [("a", 22)] and editor.results == [("a", True)]


def test_one_character_that_is_accepted_and_not_typed() -> None:
    editor = Editor("f(x\n")
    editor.show(")")
    editor.insert(")")
    assert editor.accepted == [], "it may have been typed"
    editor.outcomes.accept("a", 1, editor.now)
    editor.outcomes.accept("a", 1, editor.now)
    assert editor.accepted == [("a", 1)] and editor.results == [("a", True)]


def test_word_by_word_with_requests_in_between_and_the_rest_whole() -> None:
    editor = Editor("x = \n")
    editor.show("first second third")
    editor.insert("first")
    assert editor.accepted == [("a", 5)] and editor.results == [("a", True)]
    assert not editor.show(" second third"), "the rest of the same"
    editor.insert(" second")
    editor.insert(" third")
    editor.outcomes.accept("a", 13, editor.now)  # the rest as it was when it was last asked for
    assert editor.accepted == [("a", 5), ("a", 7), ("a", 6)] and editor.results == [("a", True)]


def test_typing_along_to_the_end_is_taking_it_without_accepted_characters() -> None:
    editor = Editor("x = \n")
    editor.show("abc")
    editor.type("ab")
    editor.show("c")
    editor.type("c")
    assert editor.accepted == [] and editor.results == [("a", True)] and not editor.outcomes.is_visible("a")


def test_typing_along_and_then_accepting_counts_the_rest() -> None:
    editor = Editor("x = \n")
    editor.show("abcdef")
    editor.type("ab")
    editor.insert("cdef")
    editor.outcomes.accept("a", 6, editor.now)
    assert editor.accepted == [("a", 4)]


def test_typing_otherwise_rejects_and_only_what_was_visible() -> None:
    editor = Editor("x = \n")
    editor.show("abc")
    editor.type("z", after=0.3)
    assert editor.results == [("a", False)] and editor.gone == ["a"] and editor.accepted == []
    editor.show("def", "b")
    editor.type("z", after=0.2)
    assert editor.results == [("a", False)] and editor.gone == ["a", "b"]
    editor.show("ghi", "c")
    editor.now -= 50.0  # a clock that went back
    editor.type("z")
    assert len(editor.results) == 1


def test_another_suggestion_in_its_place_ends_it() -> None:
    editor = Editor("x = \n")
    editor.show("abc")
    editor.now += 1.0
    editor.show("def", "b")
    assert editor.results == [("a", False)] and editor.outcomes.is_visible("b")


def test_going_back_and_accepting_again_counts_once() -> None:
    editor = Editor("x = \n")
    editor.show("first second")
    editor.insert("first")
    editor.backspace(5)
    editor.insert("first")
    editor.insert(" second")
    assert sum(characters for _, characters in editor.accepted) == 12 and editor.results == [("a", True)]


def test_deleting_before_it_ends_it() -> None:
    editor = Editor("x = \n")
    editor.show("abc")
    editor.type("a", after=0.3)
    editor.backspace(2)
    assert editor.results == [("a", False)]


def test_an_edit_inside_what_was_typed_along_ends_it() -> None:
    editor = Editor("x = \n")
    editor.show("aab")
    editor.type("a", after=0.3)
    editor.edit((0, 4), (0, 4), "a")  # as the suggestion begins, but not at the cursor
    assert editor.results == [("a", False)]


def test_what_is_deleted_behind_the_cursor_ends_it_and_what_is_typed_over_does_not() -> None:
    editor = Editor("x = ()\n")
    editor.index = 5
    editor.show(")")
    editor.now += 1.0
    editor.edit((0, 5), (0, 6), ")")
    assert editor.results == [("a", True)] and editor.accepted == []
    editor.index = 5
    editor.show("ab", "b")
    editor.now += 1.0
    editor.edit((0, 5), (0, 6), "")
    assert editor.results[1:] == [("b", False)]


@pytest.mark.parametrize("reports_first", [False, True])
def test_what_it_repeats_of_the_line_is_replaced_and_not_counted(reports_first: bool) -> None:
    editor = Editor("x = f()\n")
    editor.index = 6
    editor.show("a, b) + 1", replaced=1)
    editor.now += 1.0
    if reports_first:
        editor.outcomes.accept("a", 9, editor.now)
    editor.edit((0, 6), (0, 7), "a, b) + 1")
    if not reports_first:
        editor.outcomes.accept("a", 9, editor.now)
    assert editor.accepted == [("a", 8)] and editor.results == [("a", True)] and editor.gone == []


def test_typing_over_what_it_replaces_is_typing_along() -> None:
    editor = Editor("x = f()\n")
    editor.index = 6
    editor.show("a) + 1", replaced=1)
    editor.type("a")
    editor.edit((0, 7), (0, 8), ")")
    editor.index = 8
    assert editor.accepted == [] and editor.outcomes.is_visible("a")
    editor.show(" + 1")
    editor.insert(" + 1")
    assert editor.accepted == [("a", 4)] and editor.results == [("a", True)]


def test_one_that_comes_back_is_visible_anew() -> None:
    editor = Editor("x = \n")
    editor.show("abc")
    editor.type("z")
    editor.backspace()
    editor.now += 9.0
    assert not editor.show("abc")
    editor.type("z")
    assert editor.results == []
    editor.backspace()
    editor.show("abc")
    editor.type("z", after=0.3)
    assert editor.results == [("a", False)]


def test_a_pair_that_the_editor_closes_is_typed() -> None:
    editor = Editor("x = \n")
    editor.show("f(a)")
    editor.type("f")
    here = (0, editor.index)
    editor.edit(here, here, "()")
    editor.index += 1
    assert editor.accepted == [] and editor.outcomes.is_visible("a")
    editor.show("a")  # the rest, cut before the bracket
    editor.insert("a")
    assert editor.results == [("a", True)]


def test_a_line_end_with_its_indentation_is_one_key() -> None:
    editor = Editor("def f():\n    a\n", line=1)
    editor.show("\n    return a")
    editor.insert("\n    ")
    assert editor.accepted == [] and editor.outcomes.is_visible("a")
    editor.show("return a")
    editor.insert("return a")
    assert editor.accepted == [("a", 8)]


def test_the_editors_own_list_takes_no_suggestions_characters() -> None:
    editor = Editor("x = \n")
    editor.show("print(x)")
    editor.type("pri")
    editor.edit((0, 4), (0, 7), "print")
    assert editor.accepted == [] and editor.outcomes.is_visible("a")


def test_edits_elsewhere_move_it_or_leave_it() -> None:
    editor = Editor("import a\nx = \ny = 2\n", line=1)
    editor.show("first()")
    editor.edit((0, 0), (0, 0), "import b\nimport c\n")
    editor.line += 2
    editor.edit((4, 5), (4, 5), "3")
    editor.insert("first()")
    assert editor.accepted == [("a", 7)]


def test_what_the_text_has_overtaken_may_still_be_accepted() -> None:
    editor = Editor("x = \n")
    editor.show("abc", is_current=False)
    editor.type("z", after=1.0)
    assert editor.results == [] and not editor.outcomes.is_visible("a")
    editor.outcomes.accept("a", 2, editor.now)
    assert editor.accepted == [("a", 2)] and editor.results == [("a", True)]


def test_a_closed_document_and_unknown_or_silly_reports_say_nothing() -> None:
    editor = Editor("x = \n")
    editor.show("abc")
    editor.now += 9.0
    editor.outcomes.accept("unknown", 5, editor.now)
    editor.outcomes.accept("a", -5, editor.now)
    editor.outcomes.accept("a", 0, editor.now)
    editor.outcomes.close_document(URI)
    assert editor.accepted == [] and editor.results == [] and editor.gone == ["a"]


TEXT = st.text("ab(\n ", min_size=1, max_size=8).filter(str.strip)
STEPS = st.one_of(
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("type"), st.sampled_from("ab( ")),
    st.tuples(st.just("back"), st.integers(1, 3)),
    st.tuples(st.just("show"), TEXT),
    st.tuples(st.just("report"), st.integers(-1, 9)),
)


@given(st.lists(STEPS, max_size=20))
def test_never_more_characters_than_it_has_and_one_outcome_each(steps: list[tuple[str, int | str]]) -> None:
    editor = Editor("x = \n")
    texts: list[str] = []
    left = ""  # of the newest suggestion
    for step, value in steps:
        if step == "show":
            left = str(value)
            editor.show(left, str(len(texts)))
            texts.append(left)
        elif step == "take" and left:
            taken, left = left[: int(value)], left[int(value) :]
            editor.insert(taken)
        elif step == "type":
            left = left[1:] if left.startswith(str(value)) else ""
            editor.insert(str(value))
        elif step == "back" and editor.index > 4 + int(value):
            left = ""
            editor.backspace(int(value))
        elif step == "report" and texts:
            editor.outcomes.accept(str(len(texts) - 1), int(value), editor.now)
    for number, text in enumerate(texts):
        row_id = str(number)
        accepted = [characters for row, characters in editor.accepted if row == row_id]
        results = [taken for row, taken in editor.results if row == row_id]
        assert all(characters > 0 for characters in accepted) and sum(accepted) <= len(text)
        assert len(results) <= 1
        assert results or not accepted
