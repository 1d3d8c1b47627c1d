"""Evaluation rows come from held-out projects only, spread over projects and files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from green_code_lab.corpus import debian, npm
from green_code_lab.corpus.files import Report
from green_code_lab.evaluation import held_out
from green_code_lab.evaluation.held_out import held_out_files, held_out_rows
from tests.lab.corpus.samples import code, file
from tests.lab.corpus.test_packages import make_package


def test_projects_that_are_trained_on_give_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("koa", "chalk"):
        make_package(tmp_path / "npm", name, "MIT")
    monkeypatch.setattr(npm, "listed", lambda _: [("koa", "1.0.0"), ("chalk", "1.0.0")])
    monkeypatch.setattr(debian, "listed", lambda _: ["ruby-sinatra"])
    monkeypatch.setattr(held_out, "installed_files", lambda *_: iter(()))
    assert {each.project for each in held_out_files(tmp_path, [], Report())} == {"koa"}


def test_rows_are_whole_lines_of_all_projects_in_turn() -> None:
    large = [file("large", code(2000, seed), f"{seed}.py") for seed in range(20)]
    small = file("small", code(2000, 30))
    rows = held_out_rows([*large, small, file("other", code(2000, 40), "a.go", language="go")], 8, 0)
    assert Counter(row.language for row in rows) == {"python": 8, "go": 8}
    texts = {each.text: each.project for each in (*large, small)}
    whole = [row.prefix + row.reference + row.suffix for row in rows if row.language == "python"]
    assert Counter(texts[text] for text in whole) == {"large": 7, "small": 1}
    assert len(set(whole)) == 8, "a file again only when all had their turn"
    assert all(row.reference.strip() and "\n" not in row.reference for row in rows)
    assert len({row.id for row in rows}) == len({(row.language, row.prefix) for row in rows}) == len(rows)


def test_the_same_seed_gives_the_same_rows() -> None:
    files = [file("project", code(2000, seed), f"{seed}.py") for seed in range(5)]
    assert held_out_rows(files, 4, 1) == held_out_rows(files, 4, 1) != held_out_rows(files, 4, 2)
