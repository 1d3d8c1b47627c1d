"""All engines are given the same tokens, whichever way they are told them."""

from __future__ import annotations

import itertools

import pytest

from green_code.engine.runtime import Runtime
from green_code.problems import Problem
from green_code_lab.benchmark.prompts import cases
from green_code_lab.benchmark.run import choose_rows
from green_code_lab.evaluation.datasets import Row

SHORT, LONG = 120, 500


def test_text_and_tokens_are_the_same_prompt(runtime: Runtime) -> None:
    vocabulary = runtime.vocabulary
    for case in itertools.islice(cases(choose_rows([], 0), vocabulary, SHORT, LONG), 6):
        for prompt in (case.short, case.grown, case.long):
            assert prompt.ids == (vocabulary.bos, *vocabulary.encode(prompt.text))
        assert case.short.text.endswith("\n") and case.long.text.endswith(case.short.text)
        assert case.grown.ids[:-1] == case.short.ids and len(case.grown.text) == len(case.short.text) + 1
        assert SHORT // 2 < len(case.short.ids) <= SHORT
        assert LONG // 2 < len(case.long.ids) <= LONG


def test_what_is_to_be_written_is_nowhere_before(runtime: Runtime) -> None:
    rows = [Row(str(i), "python", f"a = {i}\nb = ", "", f"answer_{i}") for i in range(3)]
    for case in itertools.islice(cases(rows, runtime.vocabulary, SHORT, LONG), 3):
        assert f"answer_{case.id}" not in case.long.text


def test_references_in_tokenised_form_are_no_source_text(runtime: Runtime) -> None:
    rows = [Row(str(i), "python", f"a = {i}\nb = ", "", "<STR_LIT>", tokenised=True) for i in range(3)]
    assert "<STR_LIT>" not in next(cases(rows, runtime.vocabulary, SHORT, LONG)).long.text


def test_rows_without_a_whole_line_are_refused(runtime: Runtime) -> None:
    with pytest.raises(Problem, match="--data"):
        cases([Row("1", "python", "x = ", "", "1")], runtime.vocabulary, SHORT, LONG)
