"""Rows of days long past are summed up, and no total changes."""

from __future__ import annotations

import tempfile
from dataclasses import astuple
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.energy.export import export
from green_code.energy.ledger import Ledger
from green_code.energy.ledger_file import COLUMNS, KEPT_DAYS, open_to_write, read_report, read_rows, roll_up
from green_code.energy.rows import ROLLED_UP, UNFINISHED, Row, today_text
from tests.energy.test_ledger import row
from tests.examples import examples

_DAYS_AGO = st.sampled_from([0, 1, KEPT_DAYS - 1, KEPT_DAYS, KEPT_DAYS + 1, KEPT_DAYS + 2, 400])


@st.composite
def rows(draw: st.DrawFn) -> Row:
    day = date.fromisoformat(today_text()) - timedelta(days=draw(_DAYS_AGO))
    amount = st.floats(0, 1e4)
    count = st.integers(0, 50)
    return row(
        time=f"{day}T{draw(st.sampled_from(['00:00:00', '12:30:00', '23:59:59']))}.000+00:00",
        language=draw(st.sampled_from(["python", "java", ""])),
        model=draw(st.sampled_from(["light", "standard"])),
        reason=draw(st.sampled_from(["end_of_line", *UNFINISHED])),
        energy_source=draw(st.sampled_from(["nvml", "rapl", "nvml+rapl", "estimate"])),
        **{
            name: draw(count)
            for name in ("tokens", "exit_layers", "characters", "accepted_characters", "prompt_tokens")
        },
        **{name: draw(amount) for name in ("energy_joules", "energy_full_joules", "cpu_seconds", "wall_seconds")},
        **{name: draw(st.integers(0, 1)) for name in ("shown", "accepted", "retained")},
    )


def flat(value: Any) -> Any:
    """A report with sums of floats rounded, whose order roll-up changes."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-9, abs=1e-6)
    if isinstance(value, dict):
        return {key: flat(one) for key, one in value.items()}
    return [flat(one) for one in value] if isinstance(value, list) else value


@examples(20)
@given(st.lists(rows(), max_size=25))
def test_all_totals_stay_the_same_and_old_rows_are_one_for_a_day_language_and_model(given_rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "energy.sqlite3"
        database = open_to_write(path, check=True)
        insert = f"INSERT INTO completions ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
        database.executemany(insert, map(astuple, given_rows))
        before = read_report(path)
        for _ in range(2):  # the second time changes nothing
            roll_up(database)
            assert read_report(path) == flat(before)
        database.close()
        left, first_kept = list(read_rows(path)), str(date.fromisoformat(today_text()) - timedelta(days=KEPT_DAYS))
        assert {one for one in left if one.time >= first_kept} == {one for one in given_rows if one.time >= first_kept}
        old = [one for one in left if one.time < first_kept]
        keys = [(one.time[:10], one.language, one.model) for one in old]
        assert len(set(keys)) == len(keys) and {one.reason for one in old} <= {ROLLED_UP}
        assert sum(one.prompt_tokens for one in left) == sum(one.prompt_tokens for one in given_rows)
        assert export(left, Path(name) / "all.csv") == len(left)


def test_an_engine_sums_up_when_it_starts(tmp_path: Path) -> None:
    path = tmp_path / "energy.sqlite3"
    reader = Ledger(path, mends=False)
    for hour in range(24):
        reader.record(row(time=f"2020-01-01T{hour:02}:00:00.000+00:00", decoding="fast", threshold=str(hour)))
    reader.close()
    assert len(list(read_rows(path))) == 24
    ledger = Ledger(path)
    assert ledger.report()["all"]["completions"] == 24
    ledger.close()
    [one] = read_rows(path)
    assert (one.completions, one.decoding, one.threshold, one.reason) == (24, "fast", "", ROLLED_UP)
