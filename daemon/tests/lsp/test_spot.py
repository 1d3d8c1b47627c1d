"""What is read around a cursor: enough, and never a huge file or line."""

from __future__ import annotations

from green_code.lsp.spot import LOOKED_AHEAD, LOOKED_BACK, Spot

HUGE = "x = " + "[1]," * 400_000 + "\n"


def spot(lines: list[str], line: int) -> Spot:
    return Spot(lines, line, 0, "python", automatic=True)


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
