"""The trials in small: each finds nothing, and a trial that finds something says so."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from tests.trials.all_trials import TRIALS
from tests.trials.messages import _edits
from tests.trials.rig import Front
from tests.trials.runner import (
    SKIPPED,
    TABLE,
    UNKNOWN_REVISION,
    Outcome,
    Plan,
    known,
    revision,
    run_all,
    run_trial,
    table,
    write_table,
)
from tests.trials.seeds import SEEDS, once_failed
from tests.trials.system import available

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and sockets are POSIX's")
NEED_FAULTS = ("slow-disk", "clock", "allocations")
SCALES = {
    "frames": 0.03,
    "lsp": 0.03,
    "gguf": 0.1,
    "safetensors": 0.05,
    "settings": 0.1,
    "kill": 0.05,
    "recovery": 0.02,
    "recovery-busy": 0.02,
    "ledger": 0.01,
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
    if row["figures"].startswith(SKIPPED):  # the nightly workflow runs as root what needs it
        pytest.skip(row["figures"])


def test_cases_that_once_failed_are_still_what_they_were() -> None:
    """Their random numbers give other messages when hostile values change: then these must be looked for again."""
    front = Deep()
    for seed, number in once_failed("lsp"):
        front.nested = 0
        list(_edits(cast(Front, front), random.Random(f"editors {seed} {number}")))
        assert front.nested == 2000
    assert set(json.loads(SEEDS.read_text("utf-8"))) <= TRIALS.keys()


class Deep:
    """In a front's place: how deep the deepest value was nested that it was sent."""

    nested = 0

    def open(self, text: str, uri: str) -> None:
        """Its texts are not nested."""

    def notify(self, method: str, params: dict[str, Any]) -> None:
        for value in params.values():
            depth = 0
            while isinstance(value, list) and value:
                value, depth = value[0], depth + 1
            self.nested = max(self.nested, depth)

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self.notify(method, params)
        return {}


def test_a_revision_that_is_gone_is_not_named() -> None:
    assert known("0" * 40) == known("0" * 40 + "-dirty") == known("no-revision") == UNKNOWN_REVISION
    assert known(revision()) == revision()


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
    assert "Measured on " in text and ".\nNot run yet: soak.\n" in text
    assert (
        f"| passes | things | 3 | 0 | p50 1 s | {revision()} |" in text
        and "old" not in text
        and text.endswith("\n\nAfter\n")
    )
