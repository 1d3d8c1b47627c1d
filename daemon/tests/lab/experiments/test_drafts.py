"""The experiment as a command, over a tiny model: its arms, its accounts, its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from green_code.engine.runtime import load_runtime

from green_code.models.catalog import TINY
from green_code_lab.cli.experiments import main
from green_code_lab.evaluation.datasets import Row
from green_code_lab.experiments import drafts
from green_code_lab.experiments.plots import draw_drafts

ROWS = [
    Row(f"{language}-{i}", language, f"x = {i}\ny = {i}\n" * 3 + "x ", "\ny = 1\n", f"{i}")
    for language in ("python", "java")
    for i in range(3)
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drafts")
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(vars(row)) + "\n" for row in ROWS))
    words = ["drafts", "--model", TINY, "--data", str(path), "--limit", "2"]
    assert main([*words, "--work", str(folder / "work"), "--out", str(folder)]) == 0
    return folder


def test_every_arm_has_the_tokens_of_full_depth(written: Path) -> None:
    found = json.loads((written / "drafts.json").read_text())
    assert found["rows"] == {"python": 2, "java": 2}
    full, text, exits, both = found["arms"]
    assert full["ratio"] == pytest.approx(1)
    assert full["verifications"] == 0
    for arm in (text, exits, both):
        assert arm["tokens"] == full["tokens"]
        assert 0 < arm["verifications"] <= arm["passes"] == full["passes"]
        assert arm["same_rows"] == 1
    right = sum(kind["right"] for part in ("text", "corpus") for kind in found[part])
    # A token is either a right draft or what verification gave itself; the last pass may be cut short by a stop rule.
    assert text["verifications"] + right >= text["passes"]
    assert all(kind["right"] <= kind["asked"] for part in ("text", "exits") for kind in found[part])


def test_the_page_and_the_plot_are_made_from_the_data(written: Path, tmp_path: Path) -> None:
    page = (written / "drafts.md").read_text()
    assert str(written) not in page
    assert "| n-grams and exits |" in page
    assert "No corpus was there" in page
    draw_drafts(json.loads((written / "drafts.json").read_text()), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (written / "drafts.svg").read_bytes()


def test_ratios_by_hand() -> None:
    rows = [
        {"tokens": 2, "passes": 2, "texts": ["a", "b"], "joules": 4.0, "full_joules": 6.0, "prompt_joules": 2.0},
        {"tokens": 2, "passes": 3, "texts": ["c", "d"], "joules": 6.0, "full_joules": 9.0, "prompt_joules": 3.0},
    ]  # fmt: skip
    counts = drafts.Counts(rows, 3, drafts.Counter(), drafts.Counter(), drafts.Counter())
    other = [rows[0], {**rows[1], "texts": ["c", "e"]}]
    found = drafts.summary("n-grams", counts, other, 0)
    assert found["ratio"] == pytest.approx(15 / 10)
    assert found["ratio_after_prompt"] == pytest.approx(10 / 5)
    assert found["ratio_interval"] == pytest.approx((1.5, 1.5))  # both rows have the same ratio
    assert (found["passes"], found["same_rows"], found["joules_per_token"]) == (5, 0.5, 2.5)


def test_without_an_agent_the_first_exit_drafts() -> None:
    assert drafts.policy(load_runtime(TINY)) == "fixed:2"
