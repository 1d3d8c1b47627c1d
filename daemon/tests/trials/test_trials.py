"""The trials in small: each finds nothing, and a trial that finds something says so."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.trials.all_trials import TRIALS
from tests.trials.runner import TABLE, Outcome, Plan, revision, run_all, run_trial, table, write_table
from tests.trials.system import available

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and sockets are POSIX's")
NEED_FAULTS = ("slow-disk", "clock", "allocations")
SCALES = {
    "frames": 0.03,
    "lsp": 0.03,
    "gguf": 0.1,
    "safetensors": 0.05,
    "manifests": 0.1,
    "settings": 0.1,
    "kill": 0.05,
    "recovery": 0.02,
    "recovery-busy": 0.02,
}
"""Of the full run; others take a twentieth."""
OWN_TESTS = ("set-up", "bundles", "models")
"""In small they are tests elsewhere: extension/test/unit/killed.test.ts, tests/hostile/test_bundles.py, tests/models/."""


@pytest.mark.parametrize("name", [name for name in TRIALS if name not in OWN_TESTS])
def test_nothing_is_found(name: str) -> None:
    if name in NEED_FAULTS and not available():
        pytest.skip("faults.c needs glibc")
    row = run_trial(name, TRIALS[name], Plan(Path(), SCALES.get(name, 0.05)))
    assert row["failures"] == []


def test_a_run_goes_on_where_it_was_and_a_failure_is_tried_again(tmp_path: Path) -> None:
    calls: list[str] = []

    def passes(_: Plan) -> Outcome:
        calls.append("passes")
        return Outcome("things", 3, figures="p50 1 s")

    def breaks(_: Plan) -> Outcome:
        calls.append("breaks")
        raise RuntimeError("a bug in the trial")

    results, trials = tmp_path / "results.json", {"passes": passes, "breaks": breaks}
    for _ in range(2):
        rows = run_all(trials, Plan(tmp_path), results)
    assert calls == ["passes", "breaks", "breaks"]
    assert [row["failed"] for row in rows] == [0, 1] and "a bug in the trial" in rows[1]["failures"][0]
    assert json.loads(results.read_text())["passes"]["count"] == 3
    run_all(trials, Plan(tmp_path, scale=0.5), results)
    assert calls[3:] == ["passes", "breaks"], "another scale is another run"
    page = tmp_path / "page.md"
    page.write_text(f"Before\n\n{TABLE[0]}\nold\n{TABLE[1]}\n\nAfter\n")
    write_table(page, table(rows, "a machine", ["soak"]))
    text = page.read_text()
    assert f"at {revision()}.\nNot run yet: soak.\n" in text
    assert "| passes | things | 3 | 0 | p50 1 s |" in text and "old" not in text and text.endswith("\n\nAfter\n")
