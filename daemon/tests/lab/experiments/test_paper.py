"""The paper's table: files cut as there, joules with a cache and without, and both models' rows on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from green_code.engine.runtime import Runtime, load_runtime

from green_code.decoding.exit_policies import Fixed, Full
from green_code.energy.costs import CostModel
from green_code.models.catalog import TINY
from green_code_lab.cli.experiments import main
from green_code_lab.experiments import paper_page, paper_table
from green_code_lab.experiments.paper_results import PUBLISHED


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return load_runtime(TINY)


def test_fifteen_tokens_from_a_fixed_exit(runtime: Runtime) -> None:
    file = ("python", list(range(10, 40)), list(range(40, 55)))
    done = paper_table.complete(runtime, Fixed((2,)), file)
    assert done["layers"] == 2 and 0 <= done["rouge_l"] <= 1
    full = paper_table.complete(runtime, Full(), file)
    assert full["layers"] == runtime.layers_total
    assert done["joules"] < full["joules"] < full["uncached_joules"]


def test_without_a_cache_every_position_is_paid_for_every_token() -> None:
    costs = CostModel(
        source="estimate", run_joules=0.0, few_joules=1.0, evaluation_joules=1.0, head_joules=0.0, head_row_joules=0.0,
        decision_joules=0.0, entry_joules=0.0, meter="", relative_interval=0.0, window_seconds=10.0,
    )  # fmt: skip
    assert paper_table.uncached_joules(costs, 10, [2, 3], 0) == 2 * 10 + 3 * 11


def test_the_command_writes_its_page(tmp_path: Path) -> None:
    words = [
        "paper",
        "--model",
        TINY,
        "--work",
        str(tmp_path / "none"),
        "--limit",
        "2",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 0
    found = json.loads((tmp_path / "paper.json").read_text())
    assert {arm["setting"] for arm in found["arms"]} >= {"Base", "Full"}
    assert found["files"] == {"python": 2, "java": 2}
    text = (tmp_path / "paper.md").read_text()
    assert all(f"{name}:" in text for name in PUBLISHED) and "| T=0.9 | 288 (−32.5 %) |" in text
    assert (tmp_path / "paper.svg").is_file()


def test_a_sentence_follows_the_interval() -> None:
    full = {"joules": 2.0, "uncached_joules": 10.0}
    arm = {
        "setting": "T=0.9", "joules": 1.5, "uncached_joules": 6.0, "rouge_l_from_full": -0.02,
        "rouge_l_from_full_interval": [-0.03, -0.01],
    }  # fmt: skip
    assert (
        paper_page._says(arm, full)
        == "T=0.9: 25.0 % saved with a cache, 40.0 % without; ROUGE-L lower, −0.020 [−0.030, −0.010]."
    )
