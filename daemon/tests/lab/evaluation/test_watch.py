"""What loses at full depth beyond chance is not shipped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from green_code.models.sources import open_vocabulary
from green_code.models.tiny import TinySource
from green_code.models.torch_decoder import Decoder
from green_code.problems import Problem
from green_code_lab.corpus import Corpus
from green_code_lab.evaluation import watch as module
from green_code_lab.evaluation.datasets import Row
from green_code_lab.evaluation.watch import UNLIKE, Change, check, complete_line, record, unlike_rows, watch

SOURCE = TinySource()
VOCABULARY = open_vocabulary(SOURCE, None)
DECODER = Decoder.load(SOURCE.config, dict(SOURCE.tensors(None)))
NONE = Corpus({}, 1)


def test_rows_are_lines_of_functions_in_ten_languages() -> None:
    rows = unlike_rows()
    assert {row.language for row in rows} == {
        "python", "java", "javascript", "typescript", "c", "cpp", "go", "rust", "ruby", "php",
    }  # fmt: skip
    assert len(rows) > 150 and len({row.id for row in rows}) == len(rows)
    assert all(row.prefix.endswith("\n") and row.reference.strip() and "\n" not in row.reference for row in rows)


def test_a_line_is_what_full_depth_continues_with() -> None:
    prefix = "def area(side):\n"
    line = complete_line(DECODER, VOCABULARY, prefix)
    assert line == line.strip() and "\n" not in line
    assert complete_line(DECODER, VOCABULARY, prefix) == line


def test_a_long_file_is_cut_to_what_the_model_has_room_for() -> None:
    config = replace(SOURCE.config, max_positions=64)
    decoder = Decoder.load(config, dict(SOURCE.tensors(None)))
    assert isinstance(complete_line(decoder, VOCABULARY, "x = 1\n" * 200), str)


@pytest.mark.parametrize("worse", [True, False])
def test_a_loss_beyond_chance_is_refused(worse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`after` is wrong in every fourth line, or in one of two hundred."""
    rows = [Row(str(i), "python", "x\n", "", f"value = {i}") for i in range(200)]
    monkeypatch.setattr(module, "unlike_rows", lambda: rows)
    monkeypatch.setattr(module, "held_out_lines", lambda *_: rows)
    asked = iter(
        [i for _ in range(2) for i in (*range(200), *(-1 if i % (4 if worse else 200) == 0 else i for i in range(200)))]
    )
    monkeypatch.setattr(module, "complete_line", lambda *_: "" if (i := next(asked)) < 0 else f"value = {i}")
    lines: list[str] = []
    changes = watch(DECODER, DECODER, VOCABULARY, NONE, 1, lines.append)
    if worse:
        with pytest.raises(Problem, match="this training is not shipped"):
            check(changes)
    else:
        check(changes)
        found = record(changes)
        assert found[UNLIKE]["before"] == 100 and found[UNLIKE]["after"] == pytest.approx(99.5)
        assert found[UNLIKE]["interval"][0] < 0 == found[UNLIKE]["interval"][1]
    assert len(lines) == 2


def test_a_loss_that_is_too_small_to_notice_is_recorded_and_not_refused() -> None:
    small = Change.between([100.0] * 1000, [99.8] * 1000)
    assert small.interval[1] < 0
    check({UNLIKE: small})
    with pytest.raises(Problem):
        check({UNLIKE: Change.between([100.0] * 1000, [99.4] * 1000)})
