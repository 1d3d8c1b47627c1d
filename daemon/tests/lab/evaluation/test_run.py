"""A cut run goes on after its whole rows, and never mixes with another run's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from green_code.engine.loading import Runtime, load_measured
from green_code.link.messages import CompletionParams
from green_code.problems import Problem
from green_code_lab.evaluation.datasets import Row
from green_code_lab.evaluation.parallel import workers
from green_code_lab.evaluation.run import evaluate, summarise

PARAMS: CompletionParams = {
    "session": "",
    "prefix": "",
    "suffix": "",
    "language": "",
    "model": "tiny-random",
    "decoding": "full",
    "policy": "agent",
    "threshold": 1.0,
    "max_tokens": 4,
    "single_line": True,
    "max_lines": 1,
    "max_prompt_tokens": 256,
    "stop": 0.0,
    "alternatives": 0,
    "place": [],
    "path": "",
    "snippets": [],
    "device": "auto",
}
ROWS = [Row(str(i), "python", f"x{i} = ", "", "1", tokenised=False) for i in range(4)]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GREEN_CODE_BUNDLES", str(tmp_path_factory.mktemp("bundles")))
        return load_measured("tiny-random")


def run(runtime: Runtime, rows: list[Row], out: Path | None) -> list[str]:
    return [row["id"] for row in evaluate(runtime, rows, PARAMS, lambda _: None, out)]


def test_a_cut_run_goes_on(runtime: Runtime, tmp_path: Path) -> None:
    whole = evaluate(runtime, ROWS, PARAMS, lambda _: None, tmp_path / "whole")
    assert run(runtime, ROWS, tmp_path / "cut") == ["0", "1", "2", "3"]
    path = tmp_path / "cut" / "rows.jsonl"
    path.write_text(path.read_text()[: -len(path.read_text().splitlines()[-1]) // 2])  # killed while writing
    again = evaluate(runtime, ROWS, PARAMS, lambda _: None, tmp_path / "cut")
    assert [row["text"] for row in again] == [row["text"] for row in whole]
    assert len(path.read_text().splitlines()) == len(ROWS)
    assert json.loads((tmp_path / "cut" / "summary.json").read_text())["all"]["rows"] == len(ROWS)


@pytest.mark.slow
def test_several_processes_give_the_same_rows_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path / "bundles"))
    own = load_measured("tiny-random")
    alone = evaluate(own, ROWS, PARAMS, lambda _: None, tmp_path / "alone")
    with workers(own, 2) as complete:
        several = evaluate(own, ROWS, PARAMS, lambda _: None, tmp_path / "several", complete)
    times = ("wall_seconds", "cpu_seconds")
    assert [{k: v for k, v in row.items() if k not in times} for row in several] == [
        {k: v for k, v in row.items() if k not in times} for row in alone
    ]


def test_another_run_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    run(runtime, ROWS[:2], tmp_path)
    corrected = [replace(ROWS[0], reference="2"), ROWS[1]]
    for rows in (ROWS, corrected):
        with pytest.raises(Problem, match="another run"):
            run(runtime, rows, tmp_path)
    with pytest.raises(Problem, match="another run"):
        evaluate(runtime, ROWS[:2], {**PARAMS, "stop": "sure"}, lambda _: None, tmp_path)


def test_at_full_depth_every_layer_runs_and_nothing_is_saved(runtime: Runtime) -> None:
    summary = summarise(evaluate(runtime, ROWS, PARAMS, lambda _: None))["all"]
    assert summary["body_share"] == pytest.approx(1)
    assert summary["body_share_decode"] == pytest.approx(1)
    assert summary["saving"] == pytest.approx(0)
