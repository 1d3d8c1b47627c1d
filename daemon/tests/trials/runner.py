"""Runs trials, keeps each result, and writes the table: a run that was ended goes on where it was, or with one trial by name."""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from green_code.models.rows import TINY

TABLE: Final = ("<!-- trials -->", "<!-- /trials -->")
MOST_FAILURES: Final = 20
SKIPPED: Final = "skipped: "
"""How the figures of a trial begin that could not be run here."""


@dataclass(frozen=True)
class Plan:
    """How a trial runs: `scale` 1 is the full run; random numbers come from `seed`; `model` is that of kill, recovery, soak and cache."""

    folder: Path
    scale: float = 1.0
    seed: int = 0
    model: str = TINY

    @property
    def is_long(self) -> bool:
        """Whether figures count that have an aim: a short run has too few of them, and begins cold."""
        return self.scale >= 0.5

    def times(self, full: int) -> int:
        """So many of `full` as the scale says, at least one."""
        return max(1, round(full * self.scale))


@dataclass
class Outcome:
    """What a trial did and found; an empty list of failures is a pass."""

    what: str
    count: int
    failures: list[str] = field(default_factory=list)
    figures: str = ""


Trial = Callable[[Plan], Outcome]


def run_trial(name: str, trial: Trial, plan: Plan) -> dict[str, Any]:
    """A row; an exception is a failure, too."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gc-", ignore_cleanup_errors=True) as folder:  # short: it holds a socket
        try:
            outcome = trial(Plan(Path(folder), plan.scale, plan.seed, plan.model))
        except Exception:
            outcome = Outcome("did not come to its end", 0, [traceback.format_exc()[-2000:]])
    return {
        "name": name,
        **asdict(outcome),
        "failures": outcome.failures[:MOST_FAILURES],
        "failed": len(outcome.failures),
        "scale": plan.scale,
        "seed": plan.seed,
        "seconds": round(time.monotonic() - began, 1),
        "revision": revision(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
    }


def run_all(trials: Mapping[str, Trial], plan: Plan, results: Path) -> list[dict[str, Any]]:
    """Run the trials that `results` lacks at this scale and seed, and keep each as soon as it has ended; prints their rows."""
    kept = read_results(results)
    for name, trial in trials.items():
        row = kept.get(name)
        if row is None or row["failed"] or (row["scale"], row["seed"]) != (plan.scale, plan.seed):
            row = kept[name] = run_trial(name, trial, plan)
            results.parent.mkdir(parents=True, exist_ok=True)
            part = results.with_suffix(".part")
            part.write_text(json.dumps(kept, indent=1), "utf-8")
            part.replace(results)
        print(
            f"{name}: {row['what']}: {row['failed']} failures, {row['figures'] or '—'} ({row['seconds']:g} s)",
            flush=True,
        )
        for failure in row["failures"]:
            print("    " + failure.replace("\n", "\n    "), flush=True)
    return [kept[name] for name in trials]


def read_results(results: Path) -> dict[str, Any]:
    """Rows by name; none where there are none yet."""
    try:
        kept: dict[str, Any] = json.loads(results.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return kept


def table(rows: Sequence[Mapping[str, Any]], machine: str, missing: Sequence[str] = ()) -> str:
    """The rows in Markdown, each with its revision; then dates and machine, and the names of those that are not there."""
    lines = ["| trial | what | count | failures | figures | revision |", "|---|---|--:|--:|---|---|"]
    lines += [
        f"| {row['name']} | {row['what']} | {row['count']:,} | {row['failed']} | {row['figures'] or '—'} | {known(row['revision'])} |"
        for row in rows
    ]
    seconds = sum(row["seconds"] for row in rows)
    dates = sorted(row["date"] for row in rows)
    when = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "no day"
    measured = f"Measured on {when}, {machine}, in {seconds / 60:.0f} minutes."
    return "\n".join([*lines, "", measured, *([f"Not run yet: {', '.join(missing)}."] if missing else [])])


UNKNOWN_REVISION: Final = "unknown"
PAGE: Final = "docs/reliability.md"


def revision() -> str:
    """Of the sources, with a mark where they were changed since, but for the page that trials write; where git knows it."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", f":(top,exclude){PAGE}")
    found = _git("describe", "--always", "--match", "")
    return found + ("-dirty" if changed else "") if found else UNKNOWN_REVISION


def known(revision: str) -> str:
    """The revision, where the repository has it: one that was amended afterwards is gone."""
    exists = _git("rev-parse", "--verify", "--quiet", revision.removesuffix("-dirty") + "^{commit}")
    return revision if exists else UNKNOWN_REVISION


def _git(*command: str) -> str:
    """What it prints; nothing where it fails, or where there is no git."""
    try:
        ended = subprocess.run(["git", *command], cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""


def write_table(page: Path, text: str) -> None:
    """Put the table between its marks."""
    begin, end = TABLE
    before, _, rest = page.read_text("utf-8").partition(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", "utf-8")


def machine() -> str:
    """This machine in words."""
    name = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    return f"{name}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()}"
