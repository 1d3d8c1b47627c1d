"""CodeBLEU's parts against the paper's formulas, worked by hand, and its floor."""

from __future__ import annotations

import math

import pytest
from sacrebleu.metrics.bleu import BLEU

from green_code_lab.evaluation.codebleu import syntax_match, weighted_bleu


def test_without_keywords_it_is_bleu() -> None:
    words, reference = ["a", "=", "b", "+", "c", ";", "d"], ["a", "=", "b", "+", "e", ";", "d", "(", ")"]
    bleu = BLEU(effective_order=True, tokenize="none", smooth_method="none")
    expected = bleu.sentence_score(" ".join(words), [" ".join(reference)]).score
    assert weighted_bleu(words, reference, "java") == pytest.approx(expected)


def test_a_keyword_weighs_five_times() -> None:
    # Unigrams: return right (5), x wrong (1): 5/6; the one bigram is wrong, so nothing is left.
    assert weighted_bleu(["return"], ["return", "y"], "java") == pytest.approx(100 * math.exp(-1))
    assert weighted_bleu(["return", "x"], ["return", "y"], "java") == 0
    # return (5), x, +, y right, z wrong: 8/9 of unigrams; bigrams 3/4, 3-grams 2/3, 4-grams 1/2.
    found = weighted_bleu(["return", "x", "+", "y", "z"], ["return", "x", "+", "y", ";"], "java")
    assert found == pytest.approx(100 * (8 / 9 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert found > weighted_bleu(["return", "x", "+", "y", "z"], ["return", "x", "+", "y", ";"], "unknown")


def test_empty_texts() -> None:
    assert weighted_bleu([], [], "python") == 100 and weighted_bleu([], ["x"], "python") == 0
    assert syntax_match("x", "", "python") is None, "there is no syntax to match"
    assert syntax_match("f(x)", "f(x)", "cobol") is None


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "foo(a, b[1])"),
        ("java", "int x = foo(a);"),
        ("typescript", "const x: number = foo(a);"),
        ("cpp", "int x = foo(a);"),
        ("go", "x := foo(a)"),
        ("rust", "let x = foo(a);"),
    ],
)
def test_names_do_not_matter_to_syntax_but_structure_does(language: str, code: str) -> None:
    renamed = code.replace("foo", "bar").replace("a", "q")
    assert syntax_match(code, code, language) == syntax_match(renamed, code, language) == 1
    assert syntax_match("x", code, language) == 0


def test_trees_are_counted_with_their_number() -> None:
    # Reference: call(argument_list(call, call)), two inner calls and their argument lists, one of each found.
    whole = syntax_match("f(g(x), g(y))", "f(g(x), g(y))", "python")
    part = syntax_match("g(x)", "f(g(x), g(y))", "python")
    assert whole == 1 and part is not None and 0 < part < 0.5


def test_the_floor_junk_shares_trees() -> None:
    junk = syntax_match("zz(q) $$ ]]", "print(value)", "python")
    assert junk is not None and junk > 0, "which is why it is not averaged with the rest"
