"""What opens and closes brackets, strings and comments in each language."""

from __future__ import annotations

import pytest

from green_code.languages import language_of
from green_code.lexical import BEGINNING, LINE_COMMENT, read


@pytest.mark.parametrize(
    ("language", "text", "opened", "inside"),
    [
        ("python", "f(a[", "([", ""),
        ("python", "x = 'it\\'s (", "", "'"),
        ("python", '"""a "quoted" (word)', "", '"""'),
        ("python", '"""a""" + f(', "(", ""),
        ("python", "f(  # (it's", "(", LINE_COMMENT),
        ("python", "f(  # (\n", "(", ""),
        ("java", "f('\"', \"(\", ", "(", ""),
        ("java", "/* ( // */ {", "{", ""),
        ("java", "{ // {\n", "{", ""),
        ("javascript", "`a ${f(`b", "${(", "`"),
        ("javascript", "`a ${b} (", "", "`"),
        ("javascript", "x = /[\"(]/.test(", "(", ""),
        ("javascript", "a / b / (", "(", ""),
        ("typescript", "'//' + (", "(", ""),
        ("go", "`\"\n(`, '\"', [", "[", ""),
        ("rust", "fn f<'a>(x: &'a str) { '{' ", "{", ""),
        ("rust", "\"a\n(", "", '"'),
        ("cpp", "1'000 + f(", "(", ""),
        ("csharp", 'x = @"C:\\" + (', "(", ""),
        ("css", "a { // no comment }", "", ""),
        ("html", "it's (", "", ""),
        ("a language of which nothing is known", "it's (", "", ""),
    ],
)  # fmt: skip
def test_what_is_open(language: str, text: str, opened: str, inside: str) -> None:
    state = read(text, language_of(language), BEGINNING)
    assert ("".join(state.open), state.inside) == (opened, inside)


def test_faults_are_what_nothing_opened_or_closed() -> None:
    python = language_of("python")
    for text, faults in [
        ("f(a)", 0),
        ("f(a", 1),
        ("f(a))", 1),
        ("(a]", 2),
        ("'a\n", 1),
        ("'a", 1),
        ("[(]", 1),
        ('"""', 1),
    ]:
        assert read(text, python, BEGINNING).at_end() == faults, text


def test_reading_goes_on_where_it_stood() -> None:
    python, text = language_of("python"), 'f("""a(\n""", [b, \'c\'  # d\n'
    whole = read(text, python, BEGINNING)
    for place in (2, 7, 8, 13, 20, 24):
        assert read(text[place:], python, read(text[:place], python, BEGINNING)) == whole
