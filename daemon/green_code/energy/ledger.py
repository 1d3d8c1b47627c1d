"""The energy ledger: one SQLite row per completion, without any text of the user's.

WAL with synchronous=NORMAL: a recorded row survives the end of the process (kill −9); a power failure may lose the last
rows. While another program locks the file, statements wait in a queue. A damaged file or one of an older schema is set
aside and a new one is created. If nothing can be written, rows stay in memory, and `problem` says why: completions never
fail because of the ledger.
Must not know: lsp, link, engine or decoding.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from green_code.energy.rows import Row, now_text
from green_code.energy.totals import report_of, totals_of_today
from green_code.problems import Problem
from green_code.report import Report, Totals

log = logging.getLogger(__name__)

_COLUMNS = tuple(field.name for field in fields(Row))
_TYPES = {"int": "INTEGER", "float": "REAL", "str": "TEXT"}
_SCHEMA = ", ".join(
    f"{field.name} {_TYPES[str(field.type)]} NOT NULL" + (" PRIMARY KEY" if field.name == "id" else "")
    for field in fields(Row)
)
_INSERT = f"INSERT INTO completions ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_ACCEPT = """
    UPDATE completions
    SET accepted = 1, accepted_characters = MIN(characters, accepted_characters + COALESCE(?, characters))
    WHERE id = ?"""
_CORRUPT, _NOT_A_DATABASE = 11, 26  # SQLite's result codes
_VERSION = 4
_OTHER_VERSION = f"it has schema version {{}}, this release uses {_VERSION}"
_SHOW = "UPDATE completions SET shown = 1, characters = MAX(characters, ?) WHERE id = ?"
_BUSY_SECONDS = 0.5  # how long a completion waits for another program's lock
_QUEUE_LENGTH = 1000  # statements, while the file stays locked


class Ledger:
    """An open ledger; any thread may use it, and several processes at once.

    `problem` is a message for the user if rows cannot be written to disk (`in_memory`) or a file was set aside; else None.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self.in_memory = False
        self._guard = threading.Lock()
        self._queue: deque[tuple[str, tuple[Any, ...]]] = deque(maxlen=_QUEUE_LENGTH)  # statement, values
        self._closed = False
        self._database = self._open()

    def record(self, row: Row) -> None:
        """Write a row; does not raise if the disk fails."""
        self._execute(_INSERT, astuple(row))

    def show(self, row_id: str, characters: int) -> None:
        """The editor shows a completion, as in `Row.with_shown`; unknown ids are ignored."""
        self._execute(_SHOW, (characters, row_id))

    def accept(self, row_id: str, characters: int | None) -> None:
        """The user accepted characters of a completion, as in `Row.with_accepted`; unknown ids are ignored."""
        self._execute(_ACCEPT, (characters, row_id))

    def retain(self, row_id: str) -> None:
        """An accepted completion was still in the document half a minute later; unknown ids are ignored."""
        self._execute("UPDATE completions SET retained = 1 WHERE id = ?", (row_id,))

    def probe(self) -> None:
        """Write without a change, so that `problem` is set if rows cannot be written."""
        self._run(f"PRAGMA user_version = {_VERSION}", ())

    def today(self) -> Totals:
        """Totals of the current day (UTC)."""
        return totals_of_today(self._run)

    def report(self) -> Report:
        """Totals of today and of all rows, by day (the last 31 with any), language and model.

        The file is read through a connection of its own, so completions need not wait for a long history.
        """
        with self._guard:
            self._write_queue()
        if not self.in_memory:
            with contextlib.suppress(sqlite3.Error), contextlib.closing(_open_to_read(self.path)) as database:
                return report_of(lambda statement, values: database.execute(statement, values).fetchall())
        return report_of(self._run)

    def rows(self) -> Iterator[Row]:
        """Every row, the oldest first."""
        for values in self._run(f"SELECT {', '.join(_COLUMNS)} FROM completions ORDER BY time", ()):
            yield Row(*values)

    def delete(self) -> int:
        """Delete every row, its remains in the file, and files that were set aside; returns how many rows there were.

        Raises:
            Problem: another program locks the file, or it cannot be written.
        """
        with self._guard:
            try:
                deleted = self._database.execute("DELETE FROM completions").rowcount
                self._database.execute("VACUUM")
                (busy, *_) = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                for aside in self.path.parent.glob(f"{self.path.name}.damaged-*"):
                    aside.unlink()
            except (sqlite3.Error, OSError) as error:
                raise Problem("cache_unwritable", f"{self.path} could not be emptied ({error}). Try again.") from error
        if busy:
            log.warning("another program reads the ledger; deleted rows leave the disk when it has finished")
        return deleted

    def close(self) -> None:
        """Close the file; later rows are dropped, and later reports are empty."""
        with self._guard:
            self._write_queue()
            self._closed = True
            self._database.close()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._guard:
            self._queue.append((statement, values))
            self._write_queue()

    def _write_queue(self) -> None:
        """Execute the queue in order while the file can be written; the caller holds the guard."""
        failures = 0
        while self._queue and not self._closed and failures < 2:
            try:
                self._database.execute(*self._queue[0])
            except sqlite3.DatabaseError as error:
                if not self._recover(error):
                    return
                failures += 1
            else:
                self._queue.popleft()

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._guard:
            self._write_queue()
            if self._closed:
                return []
            try:
                return self._database.execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:
                self._recover(error)
                return []

    def _open(self) -> sqlite3.Connection:
        """The file's database; a new one if the file was set aside; or one in memory. `problem` says why."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return _connect(str(self.path))
        except (OSError, sqlite3.Error) as error:
            return self._set_aside(error) if _unusable(error) else self._in_memory(error)

    def _recover(self, error: sqlite3.DatabaseError) -> bool:
        """After an error, open another database unless the file is only locked; the caller holds the guard.

        Returns:
            Whether another database was opened.
        """
        if "locked" in str(error):
            log.warning("the energy ledger is busy: %s", error)
            return False
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        self._database = self._set_aside(error) if _unusable(error) else self._in_memory(error)
        return True

    def _set_aside(self, error: Exception) -> sqlite3.Connection:
        aside = self.path.with_name(f"{self.path.name}.damaged-{now_text().replace(':', '')[:17]}")
        try:
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):  # the WAL may hold rows that are not in the file yet
                if (beside := self.path.with_name(self.path.name + suffix)).exists():
                    beside.replace(aside.with_name(aside.name + suffix))
            database = _connect(str(self.path))
        except (OSError, sqlite3.Error) as second:
            return self._in_memory(second)
        self._set_problem(f"The energy ledger cannot be used ({error}). It is now {aside.name}; a new one was created.")
        return database

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        self._set_problem(
            f"The energy ledger {self.path} cannot be written ({error}); its figures last until the engine ends. "
            "Free some disk space, or set GREEN_CODE_DATA_DIR to a writable folder."
        )
        self.in_memory = True
        return _connect(":memory:")

    def _set_problem(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem


class _Outdated(sqlite3.DatabaseError):
    """The file has the schema of an older release."""


def _unusable(error: Exception) -> bool:
    """Whether the file itself is unusable; otherwise the statement or the disk is the cause."""
    code = getattr(error, "sqlite_errorcode", None)  # since Python 3.11
    if code is not None:
        return code & 0xFF in (_CORRUPT, _NOT_A_DATABASE)
    return isinstance(error, _Outdated) or any(words in str(error) for words in ("malformed", "not a database"))


def _connect(path: str) -> sqlite3.Connection:
    """Open, and create the table if there is none; each statement is a transaction. A file with a table is not written to,
    so that it opens in spite of a lock or a full disk."""
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:  # a newer engine may be using it
            raise sqlite3.OperationalError(_OTHER_VERSION.format(version))
        if 0 < version < _VERSION:
            raise _Outdated(_OTHER_VERSION.format(version))
        if version == 0:
            database.execute(f"CREATE TABLE IF NOT EXISTS completions ({_SCHEMA})")
            database.execute("CREATE INDEX IF NOT EXISTS completions_time ON completions (time)")
            database.execute(f"PRAGMA user_version = {_VERSION}")
    except BaseException:
        database.close()
        raise
    return database


def _open_to_read(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
    )
    database.execute("BEGIN")  # one snapshot for the whole report
    return database
