"""The ledger's file is removed, truncated, overwritten, replaced or not writable while the engine runs: later rows are kept."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from green_code.energy import ledger as ledger_module
from green_code.energy.export import export
from green_code.energy.ledger import Ledger
from green_code.energy.ledger_file import read_report, read_rows
from green_code.problems import Problem
from tests.energy.test_ledger import row
from tests.faults import full, small_disk


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An engine's, with twenty rows."""
    ledger = Ledger(tmp_path / "energy.sqlite3")
    for _ in range(20):
        ledger.record(row(language="before"))
    assert ledger.today()["completions"] == 20 and ledger.problem is None
    return ledger


def _remove_all(path: Path) -> None:
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)


def _overwrite_a_page(path: Path) -> None:
    """Not the first, which has the header."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 4096)


def _damage_the_schema(path: Path) -> None:
    """SQLite's message quotes it, and it is no text."""
    data = path.read_bytes()
    assert b"PRIMARY" in data
    path.write_bytes(data.replace(b"PRIMARY", b"PRIMAR\xff"))


def _rename_a_column(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"energy_joules", b"energy_jolues"))


def _replace_by_text(path: Path) -> None:
    (path.parent / "other").write_text("no database" * 1000)
    (path.parent / "other").replace(path)


def _replace_by_another(path: Path) -> None:
    _other_ledger(path.parent / "other")
    (path.parent / "other").replace(path)


def _other_ledger(path: Path) -> None:
    other = Ledger(path)
    other.record(row(language="restored"))
    other.close()


_DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.unlink(), "removed"),
    (_remove_all, "removed"),
    (lambda path: os.truncate(path, 0), "removed"),
    (lambda path: os.truncate(path, 5000), "damaged-"),
    (_overwrite, "damaged-"),
    (_overwrite_a_page, "damaged-"),
    (_damage_the_schema, "damaged-"),
    (_rename_a_column, "damaged-"),
    (_replace_by_text, "damaged-"),
    (_replace_by_another, "replaced"),
]


@pytest.mark.parametrize(("damage", "said"), _DAMAGE)
def test_a_file_that_was_changed_under_the_engine_is_noticed_and_later_rows_are_kept(
    ledger: Ledger, damage: Callable[[Path], object], said: str
) -> None:
    damage(ledger.path)
    for _ in range(20):
        ledger.record(row(language="after"))
    assert ledger.today()["completions"] in (20, 21)
    assert ledger.problem is not None and said in ledger.problem and not ledger.in_memory
    ledger.close()
    languages = [one.language for one in read_rows(ledger.path)]
    assert languages.count("after") == 20 and "before" not in languages
    assert ("restored" in languages) == (said == "replaced")
    assert bool(list(ledger.path.parent.glob("*.damaged-*"))) == (said == "damaged-")


def test_another_program_that_deletes_rows_is_no_damage(ledger: Ledger) -> None:
    with sqlite3.connect(ledger.path) as other:
        other.execute("DELETE FROM completions")
    other.execute("VACUUM")
    other.close()
    ledger.record(row())
    assert ledger.today()["completions"] == 1 and ledger.problem is None


def test_what_did_not_fit_on_the_disk_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "RETRY_SECONDS", 0.05)
    with small_disk(tmp_path / "disk", "4m") as disk:
        ledger = Ledger(disk / "energy.sqlite3")
        first = row()
        ledger.record(first)
        ledger.today()
        with full(disk):
            for _ in range(200):
                ledger.record(row())
            ledger.accept(first.id, None)
            assert ledger.today()["completions"] == 201 and ledger.today()["accepted"] == 1
            assert ledger.in_memory and ledger.problem is not None and "Free some disk space" in ledger.problem
        for _ in range(100):  # nothing else is recorded or read: it is tried again
            if not ledger.in_memory:
                break
            time.sleep(0.05)
        assert ledger.problem is None
        ledger.close()
        report = read_report(ledger.path)["all"]
        assert (report["completions"], report["accepted"]) == (201, 1)


def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MOST_WAITING", 10)
    (tmp_path / "energy.sqlite3").mkdir()
    ledger = Ledger(tmp_path / "energy.sqlite3")
    assert ledger.today()["completions"] == 0
    for number in range(30):
        ledger.record(row(tokens=number))
    (tmp_path / "energy.sqlite3").rmdir()
    assert [one.tokens for one in ledger.rows()] == list(range(20, 30))


def test_a_statement_that_can_never_be_written_stops_no_other(ledger: Ledger) -> None:
    twice = row()
    for one in (twice, twice, row()):
        ledger.record(one)
    ledger.show(twice.id, 1 << 80)
    assert ledger.today()["completions"] == 22 and ledger.problem is None


@pytest.mark.parametrize(
    "damage", [_overwrite, lambda path: os.truncate(path, 0), _damage_the_schema, _rename_a_column]
)
def test_readers_leave_a_damaged_file_where_it_is(ledger: Ledger, damage: Callable[[Path], object]) -> None:
    ledger.close()
    damage(ledger.path)
    content = ledger.path.read_bytes()
    with pytest.raises(Problem, match=r"cannot be read .* the engine sets it aside"):
        read_report(ledger.path)
    with pytest.raises(Problem, match="cannot be read"):
        list(read_rows(ledger.path))
    other = Ledger(ledger.path, mends=False)
    other.record(row())
    other.close()
    if content:
        assert other.problem is not None
        assert ledger.path.read_bytes() == content and not list(ledger.path.parent.glob("*.damaged-*"))


def _damage_the_last_rows(path: Path) -> None:
    """Several pages: the last one may be an index's."""
    with path.open("r+b") as file:
        file.seek(-4 * 4096, os.SEEK_END)
        file.write(b"\xa5" * 4 * 4096)


def _make_a_text_a_blob(path: Path) -> None:
    """Of the last row; the lengths stay."""
    with sqlite3.connect(path) as database:
        database.execute("UPDATE completions SET reason = CAST(reason AS BLOB) WHERE rowid = 400")
    database.close()


@pytest.mark.parametrize("damage", [_damage_the_last_rows, _make_a_text_a_blob])
@pytest.mark.parametrize("name", ["all.csv", "all.json"])
def test_an_export_of_a_damaged_file_leaves_the_last_one(
    tmp_path: Path, damage: Callable[[Path], object], name: str
) -> None:
    ledger, file = Ledger(tmp_path / "energy.sqlite3"), tmp_path / "to" / name
    for _ in range(400):
        ledger.record(row())
    ledger.close()
    damage(ledger.path)
    file.parent.mkdir()
    file.write_text("the last one")
    some = read_rows(ledger.path)
    assert next(some), "the first rows are sound"
    with pytest.raises(Problem, match=r"cannot be read \(database disk image is malformed"):
        export(read_rows(ledger.path), file)
    assert file.read_text() == "the last one" and list(file.parent.iterdir()) == [file]


def test_a_damaged_letter_costs_no_row(ledger: Ledger) -> None:
    ledger.close()
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b"before", b"befor\xff"))
    assert [one.language for one in read_rows(ledger.path)] == ["befor\ufffd"] * 20
