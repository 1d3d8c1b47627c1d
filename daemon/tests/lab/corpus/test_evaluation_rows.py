"""No row of evaluation data gets into a corpus, nor nearly one."""

from __future__ import annotations

import gzip
import inspect
import io
import json
import textwrap
import tokenize
from pathlib import Path

import pytest

from green_code.problems import Problem
from green_code_lab.corpus.evaluation_rows import EvaluationRows
from green_code_lab.corpus.words import code_words, word_hashes
from tests.lab.corpus.samples import words


def as_codexglue(text: str) -> str:
    """Python as CodeXGLUE's py150 has it, by Python's own tokenizer."""
    tokens = ["<s>"]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING:
            tokens.append('"<STR_LIT>"')
        elif token.type == tokenize.NUMBER:
            tokens.append("<NUM_LIT>")
        elif token.type == tokenize.NEWLINE:
            tokens.append("<EOL>")
        elif token.type not in (tokenize.COMMENT, tokenize.NL) and token.string.strip():
            tokens.append(token.string)
    return " ".join(tokens)


SOURCE = inspect.getsource(textwrap)


def found(rows: EvaluationRows, text: str) -> str | None:
    return rows.found_in(text, word_hashes(code_words(text, "python")))


@pytest.fixture
def rows(tmp_path: Path) -> EvaluationRows:
    tokens = as_codexglue(SOURCE).split()
    half = len(tokens) // 2
    path = tmp_path / "py150-rows.jsonl.gz"
    row = {"input": " ".join(tokens[:half]), "gt": " ".join(tokens[half : half + 8])}
    with gzip.open(path, "wt") as file:
        file.write(json.dumps(row) + "\n\n")
    return EvaluationRows([path])


def test_the_file_that_a_row_is_from_is_kept_out(rows: EvaluationRows) -> None:
    assert rows.count == 1
    assert found(rows, SOURCE) == "holding an evaluation row"
    assert found(rows, inspect.getsource(tokenize)) is None


def test_a_row_quoted_in_a_comment_is_kept_out(rows: EvaluationRows) -> None:
    assert found(rows, "".join(f"# {line}\n" for line in SOURCE.splitlines()))


def test_a_row_with_edits_all_over_is_kept_out(rows: EvaluationRows) -> None:
    """An edit every 19 words: no run of 20 words is left, and most runs of 5 are."""
    edited = code_words(SOURCE, "python")
    for i in range(0, len(edited), 19):
        edited[i] = f"other_{i}"
    assert found(rows, " ".join(edited)) == "nearly holding an evaluation row"
    assert found(rows, " ".join([*words(100, 1), *edited, *words(3000, 2)])) == "nearly holding an evaluation row"
    for i in range(0, len(edited), 6):
        edited[i] = f"other_{i}"
    assert found(rows, " ".join(edited)) is None


def test_rows_of_prefix_reference_and_suffix(tmp_path: Path) -> None:
    drawn = words(90, 3)
    row = {
        "language": "java",
        "prefix": " ".join(drawn[:30]) + " ",
        "reference": " ".join(drawn[30:60]),
        "suffix": "\n" + " ".join(drawn[60:]),
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    evaluation = EvaluationRows([tmp_path / "rows.jsonl"])
    for start in (0, 25, 55):
        assert found(evaluation, " ".join(drawn[start : start + 30]))


def test_a_file_that_holds_no_rows_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(Problem, match=r"rows\.jsonl cannot be read .* correct --exclude"):
        EvaluationRows([path])
    for content in ('{"text": 1}', "no JSON", "[1]"):
        path.write_text(content)
        with pytest.raises(Problem, match="other content than rows"):
            EvaluationRows([path])
