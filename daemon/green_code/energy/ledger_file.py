"""The ledger's file: its schema, reading it, checking it, deleting its rows, and summing up those of days long past.

Whoever reads it changes nothing; only the engine's `Ledger` mends a damaged file.
Must not know: lsp, link, engine or decoding.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from green_code.energy.rows import ROLLED_UP, Row, today_text
from green_code.energy.totals import report_of
from green_code.problems import Problem, in_one_line
from green_code.report import Report

log = logging.getLogger(__name__)

COLUMNS = tuple(field.name for field in fields(Row))
KEPT_DAYS = 90
"""Rows of days before these are summed up: one for each day, language and model."""

BUSY_SECONDS = 2.0
"""How long a statement waits for another program's lock."""

_TYPES = {"int": "INTEGER", "float": "REAL", "str": "TEXT"}
_KINDS = tuple({"int": int, "float": float, "str": str}[str(field.type)] for field in fields(Row))
SCHEMA = ", ".join(
    f"{field.name} {_TYPES[str(field.type)]} NOT NULL" + (" PRIMARY KEY" if field.name == "id" else "")
    for field in fields(Row)
)
_VERSION = 6
_OTHER_VERSION = f"it has schema version {{}}, this release uses {_VERSION}"
_CORRUPT, _NOT_A_DATABASE = 11, 26  # SQLite's result codes
FAILURES: Final = (sqlite3.Error, UnicodeDecodeError, OSError)
"""What using a file can raise. Of a damaged schema SQLite's message may quote bytes that are no text."""

_SUMMED_UP = {
    "id": "lower(hex(randomblob(16)))",
    "time": "MIN(time)",
    "language": "language",
    "model": "model",
    "energy_source": "REPLACE(GROUP_CONCAT(DISTINCT energy_source), ',', '+')",
    "layers_total": "MAX(layers_total)",
    "reason": f"'{ROLLED_UP}'",
}
_SUM_OF = {"int": "SUM({0})", "float": "TOTAL({0})", "str": "CASE WHEN MIN({0}) = MAX({0}) THEN MIN({0}) ELSE '' END"}
_SUMS = ", ".join(_SUMMED_UP.get(field.name, _SUM_OF[str(field.type)].format(field.name)) for field in fields(Row))


class Outdated(sqlite3.DatabaseError):
    """The file has the schema of an older release, or tables that are not ours."""


def unusable(error: Exception) -> bool:
    """Whether the file itself is unusable; otherwise the statement or the disk is the cause."""
    code = getattr(error, "sqlite_errorcode", None)  # since Python 3.11
    if code is not None:
        return code & 0xFF in (_CORRUPT, _NOT_A_DATABASE)
    return isinstance(error, (Outdated, UnicodeDecodeError)) or any(
        words in str(error) for words in ("malformed", "not a database")
    )


def open_to_write(path: Path, check: bool) -> sqlite3.Connection:
    """Open, and create file and table if there are none. A file with a table is not written to.

    Args:
        check: read the whole file, and raise if it is damaged.
    Raises:
        one of FAILURES: `unusable` says whether the file is damaged.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # SQLite would follow the umask
    database = _connect(str(path))
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        if _version(database) == 0:
            database.execute(f"CREATE TABLE IF NOT EXISTS completions ({SCHEMA})")
            database.execute("CREATE INDEX IF NOT EXISTS completions_time ON completions (time)")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        if check:
            check_file(database)
    except BaseException:
        database.close()
        raise
    return database


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a snapshot, for reading alone.

    Raises:
        one of FAILURES: there is no file, or it cannot be read.
    """
    database = _connect(f"{path.absolute().as_uri()}?mode=ro")
    try:
        database.execute("BEGIN")
        if _version(database) == 0:
            raise Outdated("it has no rows of ours")
        _check_columns(database)
    except BaseException:
        database.close()
        raise
    return database


def _connect(name: str) -> sqlite3.Connection:
    database = sqlite3.connect(name, uri=name.startswith("file:"), timeout=BUSY_SECONDS, isolation_level=None)
    database.text_factory = lambda text: text.decode(
        "utf-8", "replace"
    )  # a damaged letter costs no more than a damaged digit
    return database


def _version(database: sqlite3.Connection) -> int:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:  # a newer engine may be using it
        raise sqlite3.OperationalError(_OTHER_VERSION.format(version))
    if 0 < version < _VERSION:
        raise Outdated(_OTHER_VERSION.format(version))
    return version


def check_file(database: sqlite3.Connection) -> None:
    """Raises one of FAILURES if the file is damaged."""
    found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"database disk image is malformed: {' '.join(found.split())}")
    _check_columns(database)


def _check_columns(database: sqlite3.Connection) -> None:
    """Raises Outdated if the table has others."""
    try:
        database.execute(f"SELECT {', '.join(COLUMNS)} FROM completions LIMIT 1").fetchall()
    except sqlite3.OperationalError as error:
        raise Outdated(str(error)) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A snapshot of a ledger's file; None where there is no file.

    Raises:
        Problem: the file cannot be read.
    """
    if not path.exists():
        yield None
        return
    try:
        with contextlib.closing(open_to_read(path)) as database:
            yield database
    except FAILURES as error:
        fix = "the engine sets it aside at its next completion, and begins a new one"
        if not unusable(error):
            fix = "try again; if it stays so, see who may read that file"
        raise Problem(
            "cache_unwritable", f"The energy ledger {path} cannot be read ({in_one_line(error)}): {fix}."
        ) from error


def read_report(path: Path) -> Report:
    """The report of a ledger's file; without one, that of no rows. Raises Problem, see `reading`."""
    with reading(path) as database:
        if database is None:
            return report_of(lambda *_: [])
        return report_of(lambda statement, values: database.execute(statement, values).fetchall())


def read_rows(path: Path) -> Iterator[Row]:
    """Every row of a ledger's file, the oldest first. Raises Problem, see `reading`."""
    with reading(path) as database:
        if database is not None:
            yield from rows_of(database)


def rows_of(database: sqlite3.Connection) -> Iterator[Row]:
    """Every row, the oldest first. Raises sqlite3.DatabaseError if the file is damaged."""
    for values in database.execute(f"SELECT {', '.join(COLUMNS)} FROM completions ORDER BY time"):
        if not all(map(isinstance, values, _KINDS)):
            raise sqlite3.DatabaseError("database disk image is malformed: a value has another type")
        yield Row(*values)


def delete_rows(path: Path) -> int:
    """Delete every row, its remains in the file, and files that were set aside; returns how many rows there were.

    Raises:
        Problem: another program locks the file, it is damaged, or it cannot be written.
    """
    deleted = busy = 0
    try:
        if path.exists():
            with contextlib.closing(open_to_write(path, check=True)) as database:
                deleted = database.execute("DELETE FROM completions").rowcount
                database.execute("VACUUM")
                (busy, *_) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        for aside in path.parent.glob(f"{path.name}.damaged-*"):
            aside.unlink()
    except FAILURES as error:
        fix = "Delete that file; the engine creates a new one." if unusable(error) else "Try again."
        raise Problem("cache_unwritable", f"{path} could not be emptied ({in_one_line(error)}). {fix}") from error
    if busy:
        log.warning("another program reads the ledger; deleted rows leave the disk when it has finished")
    return deleted


def roll_up(database: sqlite3.Connection) -> None:
    """Sum up the rows of days that are more than `KEPT_DAYS` past. All totals stay the same.

    Raises:
        sqlite3.Error: nothing was changed.
    """
    first_kept = (date.fromisoformat(today_text()) - timedelta(days=KEPT_DAYS)).isoformat()
    past = "FROM completions WHERE time < ?"
    if not database.execute(f"SELECT 1 {past} AND reason <> '{ROLLED_UP}' LIMIT 1", (first_kept,)).fetchall():
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        (last,) = database.execute("SELECT MAX(rowid) FROM completions").fetchone()
        groups = "GROUP BY substr(time, 1, 10), language, model"
        database.execute(
            f"INSERT INTO completions ({', '.join(COLUMNS)}) SELECT {_SUMS} {past} {groups}", (first_kept,)
        )
        database.execute(f"DELETE {past} AND rowid <= ?", (first_kept, last))
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise
    (pages,), (free,) = (database.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "freelist_count"))
    if free > pages // 2:
        database.execute("VACUUM")
