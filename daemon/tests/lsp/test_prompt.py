"""The prompt window: typing extends it and never shifts it; its size is bounded; its cost is the window's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.lsp.documents import Document, Edit, Span, split_lines
from green_code.lsp.prompt import CHARACTERS_PER_TOKEN, SUFFIX_CHARACTERS, PromptWindow
from tests.examples import examples

TOKENS = 64
CAP = TOKENS * CHARACTERS_PER_TOKEN

lines_of_code = st.lists(st.text(alphabet="ab (é😀", max_size=60), min_size=1, max_size=40)


@examples(60)
@given(lines_of_code, st.text(alphabet="xy\n", min_size=1, max_size=300), st.data())
def test_typing_only_extends_the_prefix_but_for_rare_big_steps(
    code: list[str], typed: str, data: st.DataObject
) -> None:
    document = Document("file:///a.py", "python", "\n".join(code), "utf-16")
    line = data.draw(st.integers(0, len(code) - 1))
    index = len(code[line])
    window = PromptWindow()
    previous = window.prompt(document.lines, line, index, TOKENS).prefix
    steps = 0
    for character in typed:
        _, at = line, sum(2 if ord(c) > 0xFFFF else 1 for c in document.lines[line][:index])
        window.follow(document.apply(Span(line, at, line, at), character))
        line, index = (line + 1, 0) if character == "\n" else (line, index + 1)
        prefix = window.prompt(document.lines, line, index, TOKENS).prefix
        assert len(prefix) <= CAP + 1
        assert prefix in "".join(document.lines)
        if prefix != previous + character:
            steps += 1
        previous = prefix
    assert steps <= 1 + len(typed) // (CAP // 4)


def test_an_anchor_moves_to_half_the_cap_when_the_window_is_full() -> None:
    document = Document("file:///a.py", "python", "".join(f"line {number:04}\n" for number in range(500)), "utf-16")
    window = PromptWindow()
    lengths, starts = [], []
    for line in range(200, 300):
        prefix = window.prompt(document.lines, line, 0, TOKENS).prefix
        lengths.append(len(prefix))
        starts.append(prefix[:9])
    assert max(lengths) <= CAP and min(lengths) >= CAP // 2 - 10
    assert len(set(starts)) == pytest.approx(100 * 10 / (CAP / 2), abs=2), "about one step per half window"


def test_the_beginning_of_a_file_is_kept_as_long_as_it_fits() -> None:
    lines = split_lines("x = 1\n" * 60)
    assert PromptWindow().prompt(lines, 60, 0, TOKENS).prefix == "x = 1\n" * 60


def test_edits_above_keep_the_anchor_on_its_line() -> None:
    document = Document("file:///a.py", "python", "".join(f"line {number:04}\n" for number in range(300)), "utf-16")
    window = PromptWindow()
    before = window.prompt(document.lines, 250, 0, TOKENS).prefix
    window.follow(document.apply(Span(3, 0, 3, 0), "new\nlines\n"))
    assert window.prompt(document.lines, 252, 0, TOKENS).prefix == before
    window.follow(document.apply(Span(0, 0, 5, 0), ""))
    assert window.prompt(document.lines, 247, 0, TOKENS).prefix == before


def test_an_edit_over_the_anchor_makes_a_new_window() -> None:
    document = Document("file:///a.py", "python", "".join(f"line {number:04}\n" for number in range(300)), "utf-16")
    window = PromptWindow()
    window.prompt(document.lines, 250, 0, TOKENS)
    window.follow(document.apply(Span(100, 0, 240, 0), ""))
    prefix = window.prompt(document.lines, 110, 0, TOKENS).prefix
    assert prefix.endswith("line 0249\n") and prefix in "".join(document.lines)


def test_a_jump_upwards_is_followed_with_enough_context() -> None:
    lines = split_lines("".join(f"line {number:04}\n" for number in range(300)))
    window = PromptWindow()
    window.prompt(lines, 290, 0, TOKENS)
    for line in (285, 260, 100):
        prefix = window.prompt(lines, line, 0, TOKENS).prefix
        assert prefix.endswith(f"line {line - 1:04}\n") and len(prefix) >= CAP // 4


def test_a_line_over_the_cap_is_cut_in_steps() -> None:
    text = "v = [" + "123, " * 1000
    window = PromptWindow()
    starts = set()
    for index in range(CAP + 1, CAP * 3):
        prefix = window.prompt([text], 0, index, TOKENS).prefix
        assert text[:index].endswith(prefix) and CAP // 2 <= len(prefix) <= CAP
        starts.add(index - len(prefix))
    assert len(starts) <= 5


def test_a_cut_parts_no_character_from_its_marks() -> None:
    text = "e\u0301" * CAP * 2
    for index in range(CAP + 2, CAP * 2, 2):
        assert PromptWindow().prompt([text], 0, index, TOKENS).prefix[0] == "e"


def test_a_monstrous_line_above_is_left_out() -> None:
    lines = ["x" * 1_000_000 + "\n", "a = 1\n", "b = "]
    assert PromptWindow().prompt(lines, 2, 4, TOKENS).prefix == "a = 1\nb = "


def test_line_ends_become_one_kind() -> None:
    prompt = PromptWindow().prompt(split_lines("a\r\nb\rc\r\nd\r\n"), 2, 0, TOKENS)
    assert (prompt.prefix, prompt.suffix) == ("a\nb\n", "c\nd\n")


def test_the_suffix_is_bounded() -> None:
    lines = split_lines("x = 1\n" * 10_000)
    suffix = PromptWindow().prompt(lines, 0, 2, TOKENS).suffix
    assert len(suffix) == SUFFIX_CHARACTERS and suffix.startswith("= 1\nx")


class Counting(Sequence[str]):
    """Lines that count how many of them are read."""

    def __init__(self, lines: list[str]) -> None:
        self.lines, self.seen = lines, 0

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, key):  # type: ignore[no-untyped-def]
        self.seen += len(range(*key.indices(len(self.lines)))) if isinstance(key, slice) else 1
        return self.lines[key]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the whole file was read")


def test_the_cost_does_not_grow_with_the_file() -> None:
    small, large = Counting(["x = 12345\n"] * 1_000), Counting(["x = 12345\n"] * 100_000)
    PromptWindow().prompt(small, 500, 0, TOKENS)
    PromptWindow().prompt(large, 50_000, 0, TOKENS)
    assert large.seen == small.seen


def test_following_an_edit_without_an_anchor_does_nothing() -> None:
    window = PromptWindow()
    window.follow(Edit(0, 0, 1))
    window.forget()
    assert window.prompt(["a"], 0, 1, TOKENS).prefix == "a"
