"""What encloses a cursor, marked by | in a text; and how little of a large file is lexed for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.lsp import syntax
from green_code.lsp.documents import Document, Span, split_lines
from green_code.lsp.syntax import CHARACTERS_AT_MOST, STEP, Kind, Syntax
from tests.examples import examples

PYTHON = [
    ("x = 1  # foo|", "comment"),
    ("#|", "comment"),
    ("# foo\n|", None),
    ("x = 1 |# foo", None),
    ("x = '#' + |", None),
    ("x = 1  # it's|", "comment"),
    ('x = "abc"|', None),
    ('x = |"abc"', None),
    ('x = "abc|"', "string"),
    ('x = "abc|', "string"),
    ("x = \"it's # |", "string"),
    ('x = "a\\|', "string"),
    ("x = rb'a|'", "string"),
    ("x = r|", None),
    ('x = "left open\nprint(|', None),
    ('def f():\n    """Says |', "string"),
    ('def f():\n    """Says.\n\n    More|\n    """\n', "string"),
    ('def f():\n    """Says."""|', None),
    ("x = '''a \"b\" 'c\n|''' + ''", "string"),
    ('f"{a.|}"', None),
    ('f"{a} b|"', "string"),
]
JAVA = [
    ("int x; // foo|", "comment"),
    ("/* a\n * b|\n */", "comment"),
    ("/** a|", "comment"),
    ("/** a */|", None),
    ('String s = "a|";', "string"),
    ('String s = "a|', "string"),
    ('String s = "// a" + |', None),
    ("char c = '\"'; |", None),
    ('var s = """\n  a "b" |', "string"),
    ('var s = """\n  a""" + |', None),
    ("int a = b / |", None),
]
JAVASCRIPT = [
    ("`a\n b|`", "string"),
    ("`a ${b.|} c`", None),
    ("`a ${f('b|')} c`", "string"),
    ("`a ${b} c|", "string"),
    ("`a ${b}`|", None),
    ("const a = 'b|", "string"),
    ("const a = /it's|/", None),
    ("if (/it's/.test(|", None),
    ("/* a|", "comment"),
]
OTHERS = [
    ("typescriptreact", 'const a = "b|', "string"),
    ("shellscript", "ls # a|", "comment"),
    ("jsonc", "{ // a|", "comment"),
    ("go", "x := `a\n|", "string"),
    ("c", "#include <a|", None),
    ("rust", "fn f<'a>(x: &'a |", None),
    ("html", "<p>don't |", None),
    ("sql", "select 'it''s|", "string"),
    ("ruby", "=begin\na|", "comment"),
    ("plaintext", '"a # |', None),
    ("no such language", '"a # |', None),
]
ALL = [
    *(("python", *case) for case in PYTHON),
    *(("java", *case) for case in JAVA),
    *(("javascript", *case) for case in JAVASCRIPT),
    *OTHERS,
]


def kind_in(language: str, marked: str) -> Kind | None:
    before, _, after = marked.partition("|")
    lines, above = split_lines(before + after), split_lines(before)
    return Syntax().kind_at(language, lines, len(above) - 1, len(above[-1]))


@pytest.mark.parametrize(("language", "marked", "kind"), ALL)
def test_what_the_cursor_is_in(language: str, marked: str, kind: str | None) -> None:
    assert kind_in(language, marked) == kind
    assert kind_in(language, marked.replace("\n", "\r\n")) == kind


@pytest.mark.parametrize(("units", "kind"), [(10, "string"), (11, None), (13, None), (14, "comment")])
def test_columns_are_the_editors(units: int, kind: str | None) -> None:
    """UTF-16: each emoji is two units."""
    document = Document("file:///a.py", "python", "x = '😀😀a'  #\n", "utf-16")
    assert Syntax().kind_at("python", document.lines, *document.locate(0, units)) == kind


METHOD = '    def method(self):\n        """Says.\n\n        At length.\n        """\n        return "a"\n\n'


@pytest.fixture
def lexed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records the texts that Python's lexer gets."""
    texts, lexer = list[str](), syntax._lexer("python")

    class Watched:
        def get_tokens_unprocessed(self, text: str) -> Any:
            texts.append(text)
            return lexer.get_tokens_unprocessed(text)

    monkeypatch.setattr(syntax, "_lexer", lambda _: Watched())
    return texts


@pytest.mark.parametrize(
    ("end", "kind"),
    [("    def last(self):\n        |", None), ("        # |", "comment"), ('        """Says\n\n|', "string")],
)
def test_of_a_large_file_the_nearest_lines_are_lexed(end: str, kind: str | None, lexed: list[str]) -> None:
    for methods in (1, 5000):
        assert kind_in("python", "class A:\n" + METHOD * methods + end) == kind
    assert lexed[0].startswith("class A:")
    assert lexed[1].startswith("    def method")
    assert CHARACTERS_AT_MOST / 3 < len(lexed[1]) < CHARACTERS_AT_MOST + 50


def test_a_key_costs_what_it_touches(lexed: list[str]) -> None:
    document, known = Document("file:///a.py", "python", "class A:\n" + METHOD * 2000, "utf-16"), Syntax()

    def key(line: int, text: str, times: int) -> Kind | None:
        for _ in range(times):
            known.follow(document.apply(Span(line, 0, line, 0), text))
        return known.kind_at("python", document.lines, line, len(text) * times)

    for line in (700, 9001, 4003):  # in turns, each far from the others
        assert key(line, " ", 3) is None
        first = len(lexed[-1])
        assert key(line, "#", 1) == "comment"
        assert len(lexed[-1]) < 1.5 * STEP < first
    assert key(300, '"""', 1) == "string"
    assert known.kind_at("python", document.lines, 330, 0) == "string", "the lines below are others now"
    known.forget()
    assert known.kind_at("python", METHOD.splitlines(keepends=True), 1, 3) is None


@examples(25)
@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(['"""', "# a", "\n", "'", "x = 1\n"])), min_size=5))
def test_what_is_known_never_differs_from_lexing_anew(edits: list[tuple[int, str]]) -> None:
    document, known = Document("file:///a.py", "python", METHOD * 9, "utf-16"), Syntax()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syntax, "STEP", 40)
        for line, text in edits:
            known.follow(document.apply(Span(line, 4, line, 4), text))
            for number in (line, len(document.lines) - 1):
                place = min(number, len(document.lines) - 1), 0
                assert known.kind_at("python", document.lines, *place) == Syntax().kind_at(
                    "python", document.lines, *place
                )


def test_a_line_of_data_before_the_cursor_is_not_lexed() -> None:
    assert kind_in("python", f"x = '{'a' * 10 * CHARACTERS_AT_MOST}'\n# |") == "comment"
    assert kind_in("python", f"x = '{'a' * CHARACTERS_AT_MOST}|'") == "string"


def test_the_front_imports_pygments_only_when_needed() -> None:
    code = "import sys, green_code.lsp.server; print('pygments' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
