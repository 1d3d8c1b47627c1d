"""Copies and near copies are dropped, and what only resembles them is kept."""

from __future__ import annotations

import re

import pytest

from green_code_lab.corpus.copies import clean
from green_code_lab.corpus.evaluation_rows import EvaluationRows
from green_code_lab.corpus.files import Report, SourceFile
from green_code_lab.corpus.words import code_words, runs, word_hashes
from tests.lab.corpus.samples import code, file, words


def cleaned(*files: SourceFile) -> tuple[list[str], dict[str, int]]:
    report = Report()
    return [kept.project for kept in clean(files, EvaluationRows([]), report)], report.counts


def with_changes(drawn: list[str], count: int) -> list[str]:
    """Every so often a word of another file."""
    other, step = words(len(drawn), 99), len(drawn) // count
    return [other[i] if i % step == step // 2 else word for i, word in enumerate(drawn)]


def jaccard(first: list[str], second: list[str]) -> float:
    sets = [{tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (first, second)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_exact_copies_may_differ_in_white_space() -> None:
    one = code(900, 1)
    assert cleaned(file("a", one), file("b", one.replace(" = ", "   =  ")), file("c", code(900, 2))) == (
        ["a", "c"],
        {"copies": 1},
    )


@pytest.mark.parametrize(("changes", "near"), [(1, True), (12, True), (60, False), (200, False)])
def test_near_copies_are_those_of_high_similarity(changes: int, near: bool) -> None:
    original = words(1000, 3)
    changed = with_changes(original, changes)
    similarity = jaccard(original, changed)
    assert similarity > 0.88 if near else similarity < 0.72  # clear of the threshold's blur
    kept, report = cleaned(file("a", "\n".join(original)), file("b", "\n".join(changed)))
    assert (kept, report) == ((["a"], {"near copies": 1}) if near else (["a", "b"], {}))


def test_other_comments_and_strings_make_no_other_file() -> None:
    body = code(2_000, 4)
    other = re.sub(r"\n", '  # as before\n"""Documented\n"quite" otherwise."""\n', body)
    assert cleaned(file("a", body), file("b", other)) == (["a"], {"near copies": 1})


def test_files_without_code_are_not_copies_of_each_other() -> None:
    assert cleaned(file("a", '"""One thing."""\n'), file("b", '"""Another."""\n'))[0] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("a1 = bb // cc  # dd", "python", ["a1", "bb", "cc"]),
        ("aa = bb // cc\n/* dd\n*/ ee", "java", ["aa", "bb", "ee"]),
        (r"""aa('it\'s', "#no") + bb  # it's""", "python", ["aa", "bb"]),
        ("def aa():\n  '''bb \"\"\" cc'''\n  dd", "python", ["def", "aa", "dd"]),
        ('char aa = \'"\'; bb("//");', "java", ["char", "aa", "bb"]),
    ],
)
def test_words_are_those_of_the_code(text: str, language: str, found: list[str]) -> None:
    assert code_words(text, language) == found


def test_runs_are_equal_where_the_words_are() -> None:
    drawn = words(50, 5) * 2
    hashes = runs(word_hashes(drawn), 7)
    wanted = [tuple(drawn[i : i + 7]) for i in range(len(drawn) - 6)]
    assert len(hashes) == len(wanted)
    assert len(set(hashes.tolist())) == len(set(wanted))
    assert [h == hashes[3] for h in hashes] == [w == wanted[3] for w in wanted]
    assert len(runs(word_hashes(drawn[:6]), 7)) == 0
