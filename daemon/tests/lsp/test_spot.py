"""What is read around a cursor: enough, and never a huge file or line."""

from __future__ import annotations

import pytest

from green_code.lsp.grammar import SyntaxCheck
from green_code.lsp.insertion import Insertion, fit
from green_code.lsp.spot import LOOKED_AHEAD, LOOKED_BACK, Spot

HUGE = "x = " + "[1]," * 400_000 + "\n"


def spot(lines: list[str], line: int, index: int = 0, language: str = "python") -> Spot:
    return Spot(lines, line, index, language, automatic=True)


def test_the_whole_of_a_small_file_is_read() -> None:
    here = spot(["import a\r\n", "\r\n", "b\r\n", "c\r\n", "d"], 2)
    assert (here.above, here.below) == ("import a\n\n", "\nc\nd")
    assert (spot(["a\n", ""], 0).below, spot(["a"], 0).below) == ("\n", "")


def test_of_a_long_file_the_lines_around_the_cursor_are_read() -> None:
    lines = [f"def f{n}():\n" if n % 3 == 0 else "    pass\n" if n % 3 == 1 else "\n" for n in range(30_000)]
    here = spot(lines, 15_000)
    assert LOOKED_BACK / 2 < len(here.above) <= LOOKED_BACK and here.above.startswith("def ")
    assert LOOKED_AHEAD / 2 < len(here.below) <= LOOKED_AHEAD + 1


def test_a_huge_line_beside_the_cursor_is_not_read() -> None:
    here = spot(["a\n", HUGE, "b\n", HUGE, "c\n"], 2)
    assert (here.above, here.below) == ("", "\n")


LONG_CLASSES = {
    "python": ("class Shop:\n", "    def price{n}(self, a, b):\n", "        return self.rate{n}(a, b)\n", ""),
    "typescript": ("class Shop {\n", "    price{n}(a, b) {\n", "        return this.rate{n}(a, b);\n", "    }\n"),
    "java": ("class Shop {\n", "    int price{n}(int a, int b) {\n", "        return rate(a, b);\n", "    }\n"),
}


@pytest.mark.parametrize("language", LONG_CLASSES)
def test_in_the_middle_of_a_long_class_the_grammar_knows_that_it_is_one(language: str) -> None:
    first, *method = LONG_CLASSES[language]
    lines = [first, *(line.replace("{n}", str(n)) for n in range(2_000) for line in method if line)]
    at = next(n for n in range(3_000, len(lines)) if lines[n].startswith("        return"))
    value = lines[at][8:].rstrip()
    assert spot(lines, at).headers(at) == first + lines[at - 1]
    lines[at] = "        \n"
    assert fit(value, spot(lines, at, 8, language)) == Insertion(value)
    end = ";" if value.endswith(";") else ""
    lines[at] = f"        return a{end}\n"
    syntax = SyntaxCheck(spot(lines, at, 16, language))
    assert syntax.is_no_worse(" + b", 0) and not syntax.is_no_worse(" b", 0)
