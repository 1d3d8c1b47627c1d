"""The ledger: what was recorded survives, whatever happens to the process or the file."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from green_code.energy import ledger_file
from green_code.energy import totals as totals_module
from green_code.energy.export import export
from green_code.energy.ledger import Ledger
from green_code.energy.ledger_file import delete_rows
from green_code.energy.rows import UNFINISHED, Row, new_id, now_text
from green_code.energy.totals import Tally
from green_code.problems import Problem
from green_code.report import Report

ROW = Row(
    id="",
    time="",
    language="python",
    model="fake",
    decoding="fast",
    threshold="0.8",
    tokens=4,
    exit_layers=40,
    layers_run=35,
    layers_total=18,
    prompt_tokens=100,
    prompt_layers_run=600,
    energy_joules=1.0,
    energy_full_joules=4.0,
    energy_source="estimate",
    cpu_seconds=0.1,
    wall_seconds=0.2,
    reason="end_of_line",
)


def row(**changes: object) -> Row:
    usual = {"id": new_id(), "time": now_text(), "completions": int(changes.get("reason") not in UNFINISHED)}
    return replace(ROW, **{**usual, **changes})  # type: ignore[arg-type]


def test_totals_days_and_languages(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "deep" / "energy.sqlite3")
    old = row(time="2020-02-03T04:05:06+00:00", language="java", energy_source="nvml")
    for one in (old, row(), row(reason="superseded", tokens=0, exit_layers=0)):
        ledger.record(one)
    ledger.accept(old.id, None)
    ledger.accept("unknown", 3)
    report = ledger.report()
    assert report["all"]["completions"] == 2 and report["all"]["accepted"] == 1
    assert report["all"]["energy_joules"] == 3 and report["all"]["saved_joules"] == 9
    assert report["all"]["saving"] == pytest.approx(0.75) and report["all"]["mean_layers"] == 10
    assert report["today"]["completions"] == 1 and report["today"] == ledger.today()
    assert [day["day"] for day in report["by_day"]] == ["2020-02-03", now_text()[:10]]
    assert {item["language"] for item in report["by_language"]} == {"python", "java"}
    assert ledger.problem is None


def test_a_sum_with_an_estimate_is_an_estimate(tmp_path: Path) -> None:
    ledger, tally = Ledger(tmp_path / "energy.sqlite3"), Tally()
    past = "2020-02-03T04:05:06+00:00"
    for one in (row(time=past), row(energy_source="rapl"), row(energy_source="nvml", language="java")):
        ledger.record(one)
        tally.add(one)
    report = ledger.report()
    assert report["all"]["source"] == tally.totals()["source"] == "estimate"
    assert report["today"]["source"] == "nvml+rapl"
    assert [day["source"] for day in report["by_day"]] == ["estimate", "nvml+rapl"]
    assert {item["language"]: item["source"] for item in report["by_language"]} == {
        "python": "estimate",
        "java": "nvml",
    }


def test_unknown_joules_are_no_figure_and_spoil_none(tmp_path: Path) -> None:
    ledger, tally = Ledger(tmp_path / "energy.sqlite3"), Tally()
    unknown = {"energy_source": "unknown", "energy_joules": 0.0, "energy_full_joules": 0.0, "unmeasured": 1}
    remote = row(model="https://host/v1/completions", layers_total=0, exit_layers=0, tokens=9, **unknown)
    for one in (row(), remote):
        ledger.record(one)
        tally.add(one)
    totals = ledger.today()
    assert totals == tally.totals()
    assert (totals["completions"], totals["unmeasured"], totals["tokens"]) == (2, 1, 13)
    assert (totals["energy_joules"], totals["saving"], totals["mean_layers"]) == (1.0, 0.75, 10)
    assert totals["source"] == "estimate"
    assert {one["model"]: one["source"] for one in ledger.report()["by_model"]}[remote.model] == "unknown"


def test_what_is_shown_accepted_and_retained_adds_up_by_model(tmp_path: Path) -> None:
    ledger, tally = Ledger(tmp_path / "energy.sqlite3"), Tally()
    mine, other = row(model="mine"), row()
    for one in (mine, other, row(), row(reason="check", energy_joules=0.5, energy_full_joules=0.0)):
        ledger.record(one)
        tally.add(one)
    for one in (mine, other):
        ledger.show(one.id, 7)
        ledger.show(one.id, 3)  # its rest, after another one
        ledger.accept(one.id, None)
        tally.change(one, one.with_shown(7).with_shown(3).with_accepted(None))
    ledger.retain(mine.id)
    tally.change(mine, replace(mine, retained=1))
    report = ledger.report()
    everything = report["all"]
    counts = [everything[key] for key in ("completions", "shown", "characters", "accepted", "retained")]
    assert counts == [3, 2, 14, 2, 1]
    assert everything["saved_joules"] == pytest.approx(3 * 3 - 0.5), "a check's joules are spent as well"
    assert tally.totals() == everything
    parts = {model["model"]: model for model in report["by_model"]}
    assert parts["mine"]["retained"] == 1 and parts["fake"]["retained"] == 0
    assert sum(part["energy_joules"] for part in parts.values()) == everything["energy_joules"]


@pytest.mark.parametrize(
    ("accepted", "characters"),
    [([None], 12), ([5], 5), ([5, 4], 9), ([5, None], 12), ([5, 40], 12), ([0], 0), ([1 << 24], 12), ([], 0)],
)
def test_accepted_characters_add_up_to_those_shown(tmp_path: Path, accepted: list[int | None], characters: int) -> None:
    """Word by word, or all of the rest; in the ledger and in the tally of a connection alike."""
    ledger, tally = Ledger(tmp_path / "energy.sqlite3"), Tally()
    one, other = row(shown=1, characters=12), row(shown=1, characters=30)
    for added in (one, other):
        ledger.record(added)
        tally.add(added)
    for more in accepted:
        ledger.accept(one.id, more)
        changed = one.with_accepted(more)
        tally.change(one, changed)
        one = changed
    report = ledger.report()
    counts = [report["all"][key] for key in ("accepted", "accepted_characters", "characters")]
    assert counts == [int(bool(accepted)), characters, 42]
    assert tally.totals() == report["all"] and one in ledger.rows()


def test_history_is_exported_and_deleted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "energy.sqlite3")
    times = [f"2020-01-0{day}T00:00:00+00:00" for day in (2, 1)]
    rows = [row(time=time, language="java\n,", characters=9, accepted_characters=4) for time in times]
    for one in rows:
        ledger.record(one)
    assert export(ledger.rows(), tmp_path / "all.csv") == export(ledger.rows(), tmp_path / "all.JSON") == 2
    with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [one["id"] for one in table] == [rows[1].id, rows[0].id] and table[0]["language"] == "java\n,"
    assert (table[0]["characters"], table[0]["accepted_characters"]) == ("9", "4")
    assert json.loads((tmp_path / "all.JSON").read_text())[1] == asdict(rows[0])
    with pytest.raises(Problem, match=r"\.csv or \.json"):
        export(ledger.rows(), tmp_path / "all.xlsx")
    with pytest.raises(Problem, match="cannot be written"):
        export(ledger.rows(), tmp_path / "missing" / "all.csv")
    ledger.close()
    assert delete_rows(ledger.path) == 2 and Ledger(ledger.path).report()["all"]["energy_joules"] == 0
    assert rows[0].id.encode() not in ledger.path.read_bytes()


def test_a_failed_deletion_is_reported_and_files_set_aside_are_deleted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_file, "BUSY_SECONDS", 0.1)
    path = tmp_path / "energy.sqlite3"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(Problem, match="Delete that file"):
        delete_rows(path)
    ledger = Ledger(path)
    ledger.record(row())
    assert ledger.today()["completions"] == 1 and list(tmp_path.glob("*.damaged-*"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Problem, match="could not be emptied"):
        delete_rows(path)
    other.execute("ROLLBACK")
    other.close()
    assert delete_rows(path) == 1 and not list(tmp_path.glob("*.damaged-*"))
    assert delete_rows(tmp_path / "none") == 0 and not (tmp_path / "none").exists()


def test_an_older_ledger_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "energy.sqlite3"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 3")
    database.close()
    ledger = Ledger(path)
    ledger.record(row())
    assert ledger.today()["completions"] == 1 and list(tmp_path.glob("*.damaged-*"))


def test_an_empty_ledger_has_zero_sums_and_no_source(tmp_path: Path) -> None:
    report = Ledger(tmp_path / "energy.sqlite3").report()
    assert report["all"]["completions"] == 0 and report["all"]["saving"] == 0
    assert report["all"]["source"] is None and report["by_day"] == []


def test_a_tally_counts_as_the_ledger_does(tmp_path: Path) -> None:
    ledger, tally = Ledger(tmp_path / "energy.sqlite3"), Tally()
    for one in (row(), row(tokens=7, exit_layers=11), row(reason="cancelled")):
        ledger.record(one)
        tally.add(one)
    assert tally.totals() == ledger.report()["all"]


def test_no_column_can_hold_the_users_text() -> None:
    assert not {field.name for field in fields(Row)} & {"text", "prefix", "suffix", "session", "path", "uri"}


def test_rows_survive_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "energy.sqlite3"
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); from test_ledger import row\n"
        "from green_code.energy.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "while True:\n"
        "    one = row(); ledger.record(one); ledger.today(); print(one.id, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(totals_module.__file__).parents[2])},
    )
    assert child.stdout is not None
    printed = [child.stdout.readline().strip() for _ in range(20)]
    child.kill()
    printed += child.stdout.read().split()
    child.wait()
    child.stdout.close()
    ledger = Ledger(path)
    stored = {one.id for one in ledger.rows()}
    assert set(printed) <= stored | {printed[-1]} and len(stored) >= 20
    ledger.record(row())
    assert ledger.report()["all"]["completions"] == len(stored) + 1


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_file_is_set_aside_and_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "energy.sqlite3"
    path.write_bytes(content)
    ledger = Ledger(path)
    ledger.record(row())
    assert ledger.report()["all"]["completions"] == 1
    assert ledger.problem is not None and "damaged" in ledger.problem
    [aside] = tmp_path.glob("*.damaged-*")
    assert aside.read_bytes() == content


def test_without_a_writable_file_rows_wait_in_memory(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    ledger = Ledger(in_the_way / "energy.sqlite3")
    ledger.record(row())
    assert ledger.today()["completions"] == 1
    assert ledger.problem is not None and "GREEN_CODE_DATA_DIR" in ledger.problem and ledger.in_memory
    in_the_way.unlink()
    assert ledger.today()["completions"] == 1 and ledger.problem is None and not ledger.in_memory
    ledger.close()
    assert [one.language for one in Ledger(ledger.path).rows()] == ["python"]


def test_two_processes_may_write(tmp_path: Path) -> None:
    one, two = Ledger(tmp_path / "energy.sqlite3"), Ledger(tmp_path / "energy.sqlite3")
    for _ in range(20):
        one.record(row())
        two.record(row())
    two.close()
    assert one.today()["completions"] == 40


def test_a_closed_ledger_drops_rows_and_reports_no_problem(tmp_path: Path) -> None:
    """As when an engine is stopped while a window requests the report."""
    ledger = Ledger(tmp_path / "energy.sqlite3")
    ledger.record(row())
    ledger.close()
    ledger.record(row())
    assert ledger.today()["completions"] == 0 and ledger.problem is None
    assert Ledger(ledger.path).today()["completions"] == 1 and not list(tmp_path.glob("*.damaged-*"))


def test_rows_wait_while_another_program_keeps_the_file_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_file, "BUSY_SECONDS", 0.1)
    ledger = Ledger(tmp_path / "energy.sqlite3")
    ledger.today()
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    one = row()
    ledger.record(one)
    second = Ledger(ledger.path)
    assert second.today()["completions"] == 0 and second.problem is None, (
        "a file that is ready is opened without a write"
    )
    ledger.accept(one.id, None)
    assert ledger.today()["accepted"] == 1 and ledger.in_memory, "what waits is counted, too"
    other.execute("ROLLBACK")
    other.close()
    report = ledger.report()
    assert (report["all"]["completions"], report["all"]["accepted"]) == (1, 1) and ledger.problem is None


def test_a_long_report_does_not_delay_completions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "energy.sqlite3")
    ledger.record(row())
    while_read: list[int] = []

    def slow(query: totals_module.Query) -> Report:
        before = totals_module.report_of(query)
        ledger.record(row())
        while_read.append(ledger.today()["completions"])
        assert totals_module.report_of(query) == before, "a report is of one moment"
        return before

    monkeypatch.setattr("green_code.energy.ledger.report_of", slow)
    assert ledger.report()["all"]["completions"] == 1 and while_read == [2]


def test_a_newer_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "energy.sqlite3"
    Ledger(path).close()
    assert path.is_file()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    ledger = Ledger(path)
    ledger.today()
    assert ledger.problem is not None and "99" in ledger.problem
    assert not list(tmp_path.glob("*.damaged-*"))
