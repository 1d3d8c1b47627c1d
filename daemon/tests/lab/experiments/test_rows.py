"""Rows come from the files that are given, else from held-out projects, else from the demo's files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code_lab.experiments import rows
from green_code_lab.experiments.rows import choose_rows

VOCABULARY: Any = Vocabulary  # only handed on


def test_files_give_so_many_rows_a_language_by_the_seed(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("python.jsonl", "java.jsonl")]
    for path in paths:
        path.write_text("".join(json.dumps({"input": f"x{i} =", "gt": "1"}) + "\n" for i in range(50)))
    chosen, source = choose_rows(paths, tmp_path, VOCABULARY, 5, 1)
    assert Counter(row.language for row in chosen) == {"python": 5, "java": 5}
    assert source == "rows of python.jsonl and java.jsonl"
    assert choose_rows(paths, tmp_path, VOCABULARY, 5, 1)[0] == chosen
    assert choose_rows(paths, tmp_path, VOCABULARY, 5, 2)[0] != chosen


def test_held_out_projects_are_drawn_from_all_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def documents(corpus: Path, _: Vocabulary) -> Iterator[tuple[str, str]]:
        assert corpus == tmp_path
        for i in range(40):
            yield "python", "\n".join(f"value_{i} = compute({line})" for line in range(20))

    monkeypatch.setattr(rows, "open_corpus", lambda folder, *_: folder)
    monkeypatch.setattr(rows, "held_out_documents", documents)
    chosen, source = choose_rows([], tmp_path, VOCABULARY, 4, 0)
    projects = [int(row.prefix.split("_")[1].split(" ")[0]) for row in chosen]
    assert len(set(projects)) == 4
    assert max(projects) >= 4  # not the first ones of the shard
    assert "held-out" in source


def test_without_data_the_demos_files_do(tmp_path: Path) -> None:
    chosen, source = choose_rows([], tmp_path / "absent", VOCABULARY, 100, 0)
    assert Counter(row.language for row in chosen) == {"python": 3, "java": 3}
    inventory = next(row for row in chosen if row.id == "inventory.py")
    assert inventory.prefix.endswith("del self.")
    assert inventory.reference == "items[name]"
    assert inventory.suffix.startswith("\n\n    def total")
    assert "too few" in source


def test_no_rows_is_told(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(Problem, match="--data"):
        choose_rows([tmp_path / "rows.jsonl"], tmp_path, VOCABULARY, 1, 0)
