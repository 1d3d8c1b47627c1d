"""Set Up of the extension, whose windows are killed and whose network and disk fail: extension/test/unit/killed.test.ts, with more seeds."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.trials.runner import SKIPPED, Outcome, Plan

ROOT = Path(__file__).resolve().parents[3]


def set_up(plan: Plan) -> Outcome:
    """Each seed has four disturbances: a failure, a kill of one of one or two windows, or an update."""
    outcome = Outcome("set-ups with four kills, failures or updates each, and a failing update", plan.times(25))
    if not (ROOT / "node_modules" / "vitest").exists():
        outcome.figures = f"{SKIPPED}no node_modules (make setup)"
        return outcome
    report = plan.folder / "report.json"
    command = [
        "npx",
        "vitest",
        "run",
        "--config",
        "extension/vitest.config.mjs",
        "killed",
        "--reporter=json",
        f"--outputFile={report}",
    ]
    environment = {**os.environ, "GREEN_CODE_TRIALS": str(outcome.count)}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tests = [test for file in json.loads(report.read_text("utf-8"))["testResults"] for test in file["assertionResults"]]
    outcome.count = len(tests)
    outcome.failures = [
        f"{test['title']}: {' '.join(test['failureMessages'])[:500]}" for test in tests if test["status"] == "failed"
    ]
    return outcome
