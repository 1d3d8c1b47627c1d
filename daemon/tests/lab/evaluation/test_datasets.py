"""Rows of both forms, the way back from CodeXGLUE's tokens, and scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from green_code.problems import Problem
from green_code_lab.evaluation.datasets import line_rows, load_rows, source_text
from green_code_lab.evaluation.metrics import (
    bleu,
    bootstrap_interval,
    chrf,
    edit_similarity,
    normalise,
    rouge_l,
    tokenise,
)

PYTHON = '<s> import os <EOL> class A ( object ) : <EOL> def f ( self , x ) : <EOL> if x [ 0 ] == "<STR_LIT>" : <EOL> return - <NUM_LIT:1> <EOL> else : <EOL> return self . f ( x ) <EOL> def g ( ) : <EOL>'


def test_python_tokens_become_python() -> None:
    text = source_text(PYTHON, "python")
    assert text.split("\n") == [
        "import os",
        "class A(object):",
        "    def f(self, x):",
        '        if x[0] == "":',
        "            return - 1",
        "        else:",
        "            return self.f(x)",
        "def g():",
        "    ",
    ]


def test_java_tokens_become_java() -> None:
    text = source_text(
        "<s> package a . b ; public class C { int f ( int x ) { for ( int i = <NUM_LIT:0> ; i < x ; i ++ ) {", "java"
    )
    assert text.split("\n") == [
        "package a.b;",
        "public class C {",
        "    int f(int x) {",
        "        for (int i = 0; i < x; i++) {",
        "            ",
    ]


@pytest.mark.parametrize(
    ("reference", "completion"),
    [
        ('logging . info ( "<STR_LIT>" )', 'logging.info("done")'),
        ("x [ <NUM_LIT:0> ] = ' <STR_LIT> '".replace("' <STR_LIT> '", "'<STR_LIT>'"), "x[12] = 'abc'"),
        ("if ( x != null ) { return a ; }", "if (x != null) { return a; }"),
    ],
)
def test_scored_in_the_tokenised_form(reference: str, completion: str) -> None:
    assert edit_similarity(tokenise(completion), normalise(reference)) == 100.0


def test_edit_similarity_is_the_levenshtein_ratio() -> None:
    assert edit_similarity("abcd", "abxd") == pytest.approx(75.0)
    assert edit_similarity("", "abc") == 0.0


@pytest.mark.parametrize(
    ("text", "reference", "f"),
    [
        ("police kill the gunman", "police killed the gunman", 3 / 4),  # Lin 2004, section 3.1
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        ("self.items[name]", "self.items[key]", 10 / 12),  # five of six words each: self . items [ ]
        ("f(<STR_LIT>, x)", "f(<STR_LIT>)", 8 / 10),  # a literal is one word: f ( <STR_LIT> ) of six and of four
        ("", "x", 0.0),
        ("", "", 1.0),
    ],
)
def test_rouge_l_by_hand(text: str, reference: str, f: float) -> None:
    assert rouge_l(text, reference) == pytest.approx(f)


def test_bleu_is_the_geometric_mean_of_its_precisions() -> None:
    """a b c d e against a b c d f: 4/5, 3/4, 2/3 and 1/2 of the n-grams are there (Papineni et al. 2002)."""
    assert bleu("a b c d e", "a b c d f") == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert bleu("x", "x") == pytest.approx(100)  # too short for pairs
    assert bleu("", "x") == 0
    assert bleu("", "") == 100


def test_chrf_by_hand() -> None:
    """ab against abc: unigrams 2/2 and 2/3, pairs 1/1 and 1/2; longer ones are in one of them at most."""
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    assert chrf("ab", "abc") == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall), abs=0.1)
    assert chrf("abc", "abc") == pytest.approx(100)
    assert chrf("", "abc") == 0


def test_rows_of_both_forms(tmp_path: Path) -> None:
    path = tmp_path / "java.jsonl"
    path.write_text(
        json.dumps({"input": "<s> int x =", "gt": "1 ;"})
        + "\n"
        + json.dumps({"id": "a", "language": "python", "prefix": "x = ", "suffix": "", "reference": "1"})
        + "\n"
    )
    first, second = load_rows(path)
    assert (first.language, first.prefix, first.tokenised) == ("java", "int x =", True)
    assert (second.id, second.reference) == ("a", "1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prefix": "x", "language": "python"}', "line 1: no text in 'reference'"),
        ('{"prefix": "x", "language": "python", "reference": null}', "line 1: no text in 'reference'"),
        ("not json", "JSON lines"),
        ('{"input": "x", "gt": "y"}', "its rows have no language"),
    ],
)
def test_bad_rows_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text + "\n")
    with pytest.raises(Problem, match=message):
        load_rows(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("javaCorpus/line/test.json", "java"),
        ("javaCorpus/py150-dev.json", "python"),
        ("py150/test.json", "python"),
        ("java-tools/python.json", "python"),
    ],
)
def test_the_language_of_codexglues_rows_is_the_nearest_names(tmp_path: Path, name: str, language: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"input": "<s> x =", "gt": "1"}))
    assert [row.language for row in load_rows(path)] == [language]
    assert [row.language for row in load_rows(path, "java")] == ["java"]


def test_lines_are_cut_inside() -> None:
    text = "\n".join(f"    value_{i} = compute({i})" for i in range(20))
    (row,) = line_rows(iter([("python", text)]), 3, 1)
    assert row.prefix + row.reference + row.suffix == text
    assert "\n" not in row.reference


def test_interval_holds_the_mean() -> None:
    low, high = bootstrap_interval([0.0, 100.0] * 50)
    assert low < 50 < high
