"""An engine in its process, the page of record, and the whole command in small."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from green_code.decoding import stop_rules
from green_code.folders import RUNTIME_VARIABLE
from green_code.models.catalog import TINY
from green_code.problems import Problem
from green_code_lab.benchmark import page, rounds, run
from green_code_lab.benchmark.engines import green_code
from green_code_lab.benchmark.peers import Prompt, Spec
from green_code_lab.benchmark.process import Worker
from green_code_lab.cli import bench

BROKEN = Spec("a", "A", "no_such_module")
DOCS = Path(__file__).parents[4] / "docs"


def test_an_engine_measures_fails_and_ends() -> None:
    options = {"model": TINY, "decoding": "full", "threshold": 1.0}
    with closing(Worker(Spec("ours", "Ours", "green_code", options))) as worker:
        assert set(worker.answer()) == {"version"}
        answer = worker.complete(prompt := Prompt((), "def f():\n"), 3, True, 1)
        assert len(answer["tokens"]) == 3 and min(answer["seconds"], answer["bytes"]) > 0
        for why in ("TypeError", "ended with status 0"):
            with pytest.raises(Problem, match=why):
                worker.complete(prompt, "three", True, 1)  # type: ignore[arg-type]
    for limit, why in ((60, "ModuleNotFoundError"), (0.001, r"no answer in 0\.001 s")):
        with closing(Worker(BROKEN, limit)) as worker, pytest.raises(Problem, match=why):
            worker.answer()


def test_the_page_of_record_is_that_of_its_data(tmp_path: Path) -> None:
    data = (DOCS / "performance.json").read_text("utf-8")
    (tmp_path / "performance.json").write_text(data, "utf-8")  # its notes are kept
    page.write(json.loads(data), tmp_path)
    for name in ("performance.json", "performance.md"):
        assert (tmp_path / name).read_text("utf-8") == (DOCS / name).read_text("utf-8")
    assert (DOCS / "performance.md").read_text("utf-8").count("| –") == 1  # the front's memory after use
    assert (tmp_path / "performance.svg").read_text("utf-8").startswith("<?xml")


@pytest.mark.slow
def test_a_quick_run_writes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [*green_code(TINY, None), BROKEN, Spec("b", "B", "", missing="why"), BROKEN]
    monkeypatch.setattr(run, "engines", lambda *_: specs)
    monkeypatch.setattr(rounds, "QUICK", rounds.Plan(2, 60, (1,), 4, True, 1))
    monkeypatch.setattr(stop_rules, "RULES", stop_rules.RULES)  # the command changes its process
    for variable in ("CUDA_VISIBLE_DEVICES", RUNTIME_VARIABLE):
        monkeypatch.setenv(variable, "")
    assert bench.run(SimpleNamespace(quick=True, model=TINY, data=[], seed=0, out=tmp_path)) == 0  # type: ignore[arg-type]
    found = json.loads((tmp_path / "performance.json").read_text())
    full, exact, broken, missing = found["one_thread"]
    assert full["cold_ms_ratio"] == [1.0, 1.0, 1.0] and exact["mib"] > 0
    assert "ModuleNotFoundError" in broken["label"] and missing["label"] == "B (not set up: why)"
    assert found["rounding"][0]["positions"] > 1000 and 0.9 < found["rounding"][0]["agreement"] <= 1
    assert found["starts"][1]["used_mib"] > 1 and found["round_trip"][0]["median_ms"] > 0
    assert "| Green Code, full depth |" in (tmp_path / "performance.md").read_text("utf-8")
