"""What is kept for long: a ledger of a million old rows, and converted weights that are checked before they are used."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple
from datetime import date, timedelta
from typing import Any

from green_code.energy.export import export
from green_code.energy.ledger import Ledger
from green_code.energy.ledger_file import COLUMNS, KEPT_DAYS, open_to_write, read_report, read_rows
from green_code.energy.rows import Row, today_text
from green_code.folders import cache_dir
from green_code.models.block_hashes import check_hashes
from green_code.models.conversion import DESCRIPTION
from tests.trials.kills import FIRST_SECONDS, started
from tests.trials.rig import percentile, percentiles, workplace
from tests.trials.runner import Outcome, Plan

LANGUAGES, MODELS = 10, 2
ROWS_OF_A_DAY = 1000
ROW_BYTES, REPORT_BYTES = 1000, 50_000
"""At most: of a row in an export, and of a report, which has 31 days."""
CHECK_SECONDS = 0.1


def ledger(plan: Plan) -> Outcome:
    """Old rows are summed up when an engine opens the ledger: report and export then have rows for days, languages and models alone."""
    days = plan.times(1000)
    count, groups = days * ROWS_OF_A_DAY, days * LANGUAGES * MODELS
    outcome = Outcome("rows of the energy ledger, all older than it keeps them", count)
    path, exported = plan.folder / "energy.sqlite3", plan.folder / "rows.json"
    with closing(open_to_write(path, check=True)) as database:
        insert = f"INSERT INTO completions ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
        database.execute("BEGIN")
        database.executemany(insert, _old_rows(days))
        database.execute("COMMIT")
    before_bytes = path.stat().st_size
    opened = Ledger(path)
    opened.report()  # waits until they are summed up
    opened.close()
    report = read_report(path)
    written = export(read_rows(path), exported)
    if written > groups:
        outcome.failures.append(f"the export has {written:,} rows of {groups:,} days, languages and models")
    if (size := exported.stat().st_size) > groups * ROW_BYTES:
        outcome.failures.append(f"the export has {size:,} bytes for {groups:,} rows")
    if (size_of_report := len(json.dumps(report))) > REPORT_BYTES:
        outcome.failures.append(f"the report has {size_of_report:,} bytes")
    if (total := report["all"]["completions"]) != count:
        outcome.failures.append(f"the report has {total:,} completions")
    outcome.figures = (
        f"{written:,} rows are left, file {_mebibytes(before_bytes)} → {_mebibytes(path.stat().st_size)}, "
        f"export {_mebibytes(size)}, report {size_of_report / 2**10:.0f} KiB"
    )
    return outcome


def _old_rows(days: int) -> Iterator[tuple[Any, ...]]:
    newest = date.fromisoformat(today_text()) - timedelta(days=KEPT_DAYS + 1)
    usual = Row("", "", "", "", "fast", "0.8", 8, 100, 100, 144, 50, 900, 1.0, 2.0, "estimate", 0.1, 0.1, "end_of_line")
    rest = astuple(usual)[4:]
    for day in range(days):
        at = f"{newest - timedelta(days=day)}T12:00:00.000+00:00"
        for number in range(ROWS_OF_A_DAY):
            language, model = number % LANGUAGES, number // LANGUAGES % MODELS
            yield f"{day}-{number}", at, f"language {language}", f"model {model}", *rest


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def cache(plan: Plan) -> Outcome:
    """What opening converted weights costs before they are read: the check of small files and of sampled blocks."""
    outcome = Outcome(f"checks of converted weights before they are used, {plan.model}", plan.times(100))
    taken: list[float] = []
    with workplace(plan.folder, plan.model):
        started(plan.model, FIRST_SECONDS).__exit__()
        newest = max(cache_dir().glob(f"*/{DESCRIPTION}"), key=lambda path: path.stat().st_mtime).parent
        computed = time.process_time()
        for _ in range(outcome.count):
            began = time.monotonic()
            check_hashes(newest)
            taken.append(time.monotonic() - began)
        computed = (time.process_time() - computed) / outcome.count
        size = sum(path.stat().st_size for path in newest.iterdir())
    outcome.figures = f"of {_mebibytes(size)}, {percentiles(taken)}; {computed * 1000:.0f} ms of a core"
    if plan.is_long and (half := percentile(taken, 0.5)) > CHECK_SECONDS:
        outcome.failures.append(f"p50 is {half:.2f} s, over {CHECK_SECONDS:g} s")
    return outcome
