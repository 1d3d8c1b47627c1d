"""Damaged files, read in a process of its own that may crash or hang; then it begins again behind the file that did it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from queue import Empty, Queue
from typing import Any

from tests.trials.rig import DAEMON, DEADLINE_SECONDS
from tests.trials.runner import Outcome, Plan
from tests.trials.seeds import once_failed

START_SECONDS = 120.0


def damaged(kind: str, full: int) -> Callable[[Plan], Outcome]:
    """The trial of a kind of cases.py."""

    def trial(plan: Plan) -> Outcome:
        seen: Counter[str] = Counter()
        failures: list[str] = []
        count = plan.times(full)
        for seed, number in once_failed(kind):
            _run(kind, seed, number, number + 1, seen, failures)
        _run(kind, plan.seed, 0, count, seen, failures)
        figures = f"{seen['refused']:,} refused, {seen['read']:,} read"
        return Outcome(f"damaged {kind}", sum(seen.values()), failures, figures)

    return trial


def hostile(name: str, what: str, *arguments: str, seeds: int = 0) -> Callable[[Plan], Outcome]:
    """The program of tests/hostile: wrong contents with right hashes, the same in every run. Of `seeds` random ones the scale takes its share;
    a failure names the sum of seed and number."""

    def trial(plan: Plan) -> Outcome:
        also = [str(seed % 10**6 + number) for seed, number in once_failed(name)]
        first = ["--first", str(plan.seed % 10**6), "--also", *also]
        random_ones = ["--seeds", str(plan.times(seeds)), *first] if seeds else []
        command = [sys.executable, "-m", "tests.hostile", *arguments, *random_ones]
        ended = subprocess.run(command, cwd=DAEMON, capture_output=True, text=True)
        if ended.returncode not in (0, 1):
            return Outcome(what, 0, [f"ended with status {ended.returncode}: {ended.stderr[-1000:]}"])
        found = json.loads(ended.stdout.splitlines()[-1])
        figures = f"{found['refused']:,} refused, {found['served']:,} served, at most {found['slowest_seconds']:g} s"
        return Outcome(what, found["refused"] + found["served"] + len(found["failures"]), found["failures"], figures)

    return trial


def _run(kind: str, seed: int, start: int, stop: int, seen: Counter[str], failures: list[str]) -> None:
    while start < stop:
        number, outcome = start, "the process did not start"
        for line in _lines(kind, seed, start, stop):
            if "number" in line:
                number, outcome = line["number"], line["outcome"]
                start = number + 1
                seen[outcome if outcome in ("read", "refused") else "failed"] += 1
                if outcome not in ("read", "refused"):
                    failures.append(f"{kind} {seed} {number}: {outcome}")
            elif "ended" in line:
                failures.append(f"{kind} {seed} {start}: {line['ended']}")
                seen["failed"] += 1
                start += 1


def _lines(kind: str, seed: int, start: int, stop: int) -> Any:
    """What the process prints; then how it ended, if that was not its own end."""
    command = [sys.executable, "-m", "tests.trials.cases", kind, str(seed), str(start), str(stop)]
    process = subprocess.Popen(command, cwd=DAEMON, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines: Queue[str | None] = Queue()
    errors: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threads = [
        threading.Thread(target=read, daemon=True),
        threading.Thread(target=lambda: errors.append(_tail(process)), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        patience = START_SECONDS
        while True:
            try:
                line = lines.get(timeout=patience)
            except Empty:
                yield {"ended": f"hangs for {patience:g} s"}
                return
            if line is None:
                break
            patience = DEADLINE_SECONDS
            yield json.loads(line)
        if process.wait() != 0:
            threads[1].join(5)
            yield {"ended": f"ended with status {process.returncode}: {''.join(errors)}"}
    finally:
        process.kill()
        process.wait()


def _tail(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.read()[-500:]
