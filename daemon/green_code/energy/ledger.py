"""The energy ledger: one SQLite row per completion, without any text of the user's.

WAL with synchronous=NORMAL: a row that was recorded survives the death of the process (kill −9); a power cut
may take the last ones. While another program keeps the file locked, entries wait for the next occasion. A damaged file is set
aside and a new one begun; where nothing can be written, rows are kept in memory and the reason is told once (`problem`):
completions go on in any case.
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
from green_code.energy.totals import Report, Totals, report_of, totals_of_today
from green_code.problems import Problem

log = logging.getLogger(__name__)


_COLUMNS = tuple(field.name for field in fields(Row))
_TYPES = {"int": "INTEGER", "float": "REAL", "str": "TEXT"}
_SCHEMA = ", ".join(
    f"{field.name} {_TYPES[str(field.type)]} NOT NULL" + (" PRIMARY KEY" if field.name == "id" else "")
    for field in fields(Row)
)
_INSERT = f"INSERT INTO completions ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_CORRUPT, _NOT_A_DATABASE = 11, 26  # SQLite's result codes
_VERSION = 2
_OTHER_VERSION = f"schema version {{}}, this release knows {_VERSION}"
_BUSY_SECONDS = 0.5  # for which another program's lock is waited for; completions wait as long
_WAITING_ENTRIES = 1000  # at most, while it stays locked


class Ledger:
    """An open ledger; safe to use from any thread, and by several processes at once.

    `problem` is a sentence for the user while rows cannot be kept on disk (`in_memory`), or about a damaged file that was
    set aside; None when all is well.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self.in_memory = False
        self._guard = threading.Lock()
        self._waiting: deque[tuple[str, tuple[Any, ...]]] = deque(
            maxlen=_WAITING_ENTRIES
        )  # statement, values
        self._closed = False
        self._database = self._open()

    def record(self, row: Row) -> None:
        """Keep a row; never raises for the disk's sake."""
        self._enter(_INSERT, astuple(row))

    def accept(self, row_id: str) -> None:
        """Note that the user took a completion; unknown ids are ignored."""
        self._enter("UPDATE completions SET accepted = 1 WHERE id = ?", (row_id,))

    def keep(self, row_id: str) -> None:
        """Note that an accepted completion was still there after half a minute; unknown ids are ignored."""
        self._enter("UPDATE completions SET kept = 1 WHERE id = ?", (row_id,))

    def probe(self) -> None:
        """Write without a change, to know whether rows can be kept: `problem` says so if not."""
        self._run(f"PRAGMA user_version = {_VERSION}", ())

    def today(self) -> Totals:
        """Totals of the current day (UTC)."""
        return totals_of_today(self._run)

    def report(self) -> Report:
        """Totals of today and of all rows, by day (the last 31 with any), language and model.

        Completions need not wait while a long history is added up: the file is read beside what writes it.
        """
        with self._guard:
            self._write()
        if not self.in_memory:
            with contextlib.suppress(sqlite3.Error), contextlib.closing(_open_to_read(self.path)) as database:
                return report_of(lambda statement, values: database.execute(statement, values).fetchall())
        return report_of(self._run)

    def rows(self) -> Iterator[Row]:
        """Every row, the oldest first."""
        for values in self._run(f"SELECT {', '.join(_COLUMNS)} FROM completions ORDER BY time", ()):
            yield Row(*values)

    def delete(self) -> int:
        """Delete every row, its traces in the file, and files that were set aside; returns how many rows there were.

        Raises:
            Problem: another program keeps the file locked, or it cannot be written.
        """
        with self._guard:
            try:
                deleted = self._database.execute("DELETE FROM completions").rowcount
                self._database.execute("VACUUM")
                (busy, *_) = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                for aside in self.path.parent.glob(f"{self.path.name}.damaged-*"):
                    aside.unlink()
            except (sqlite3.Error, OSError) as error:
                raise Problem(
                    "cache_unwritable", f"{self.path} could not be emptied ({error}); try again."
                ) from error
        if busy:
            log.warning("another program reads the ledger: what was deleted leaves the disk when it is done")
        return deleted

    def close(self) -> None:
        """Close the file; what comes later is not kept, and finds nothing."""
        with self._guard:
            self._write()
            self._closed = True
            self._database.close()

    def _enter(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._guard:
            self._waiting.append((statement, values))
            self._write()

    def _write(self) -> None:
        """Enter what waits, in its order, while the file can be written; the guard is held."""
        failures = 0
        while self._waiting and not self._closed and failures < 2:
            try:
                self._database.execute(*self._waiting[0])
            except sqlite3.DatabaseError as error:
                if not self._recover(error):
                    return
                failures += 1
            else:
                self._waiting.popleft()

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._guard:
            self._write()
            if self._closed:
                return []
            try:
                return self._database.execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:
                self._recover(error)
                return []

    def _open(self) -> sqlite3.Connection:
        """The file's database; with a damaged file set aside; or one in memory, and `problem` says why."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return _connect(str(self.path))
        except (OSError, sqlite3.Error) as error:
            return self._set_aside(error) if _unusable(error) else self._in_memory(error)

    def _recover(self, error: sqlite3.DatabaseError) -> bool:
        """Go on after an error in use, with another database unless the file is but locked; the guard is held.

        Returns:
            Whether there is another one.
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
            for suffix in ("-wal", "-shm"):  # of the WAL's, rows that are not in the file yet
                if (beside := self.path.with_name(self.path.name + suffix)).exists():
                    beside.replace(aside.with_name(aside.name + suffix))
            database = _connect(str(self.path))
        except (OSError, sqlite3.Error) as second:
            return self._in_memory(second)
        self._say(
            f"The energy ledger cannot be used ({error}); it is kept as {aside.name}, and a new one is begun."
        )
        return database

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        self._say(
            f"The energy ledger {self.path} cannot be written ({error}); figures are kept until "
            "the engine ends. "
            "Free some disk space, or set GREEN_CODE_DATA_DIR to a writable folder."
        )
        self.in_memory = True
        return _connect(":memory:")

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem


class _Outdated(sqlite3.DatabaseError):
    """The file is an older release's."""


def _unusable(error: Exception) -> bool:
    """Whether the file is to blame, and not what was done with it, or the disk."""
    code = getattr(error, "sqlite_errorcode", None)  # since Python 3.11
    if code is not None:
        return code & 0xFF in (_CORRUPT, _NOT_A_DATABASE)
    return isinstance(error, _Outdated) or any(
        words in str(error) for words in ("malformed", "not a database")
    )


def _connect(path: str) -> sqlite3.Connection:
    """Open and prepare; every statement is its own transaction. A file that is ready is not written to, so that a lock or
    a full disk does not keep it from being opened."""
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:  # a newer engine may be writing it
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
    database.execute("BEGIN")  # all of a report is of one moment
    return database
