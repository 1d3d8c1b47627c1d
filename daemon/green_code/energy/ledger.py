"""The energy ledger: one SQLite row per completion, without any text of the user's.

A thread of its own writes what is recorded, within milliseconds; what it has written survives the end of the process (kill −9).
It opens the file for each batch. So a file that was removed, replaced or overwritten meanwhile is noticed, and mended: a new one is
created where there is none, a damaged one or one of an older schema is set aside. What cannot be written, since the disk is full
or another program locks the file, waits in memory, and is written when there is room. `problem` tells the user: completions never
fail or wait because of the ledger.
Must not know: lsp, link, engine or decoding.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from green_code.energy.ledger_file import (
    COLUMNS,
    FAILURES,
    SCHEMA,
    open_to_read,
    open_to_write,
    roll_up,
    rows_of,
    unusable,
)
from green_code.energy.rows import Row, now_text, today_text
from green_code.energy.totals import report_of, totals_of_today
from green_code.problems import in_one_line
from green_code.report import Report, Totals

log = logging.getLogger(__name__)

MOST_WAITING: Final = 10_000
"""Statements that wait in memory for the file; the oldest are lost first."""
RETRY_SECONDS: Final = 5.0
"""Until the next attempt to write what waits."""
_CLOSE_SECONDS = 5.0  # for what is written last

_INSERT = f"INSERT INTO completions ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_SHOW = "UPDATE completions SET shown = 1, characters = MAX(characters, ?) WHERE id = ?"
_ACCEPT = """
    UPDATE completions
    SET accepted = 1, accepted_characters = MIN(characters, accepted_characters + COALESCE(?, characters))
    WHERE id = ?"""
_RETAIN = "UPDATE completions SET retained = 1 WHERE id = ?"
_NEVER_RIGHT = (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, OverflowError)
Result = TypeVar("Result")


class _Statement(NamedTuple):
    text: str
    values: tuple[Any, ...]


class Ledger:
    """An open ledger; any thread may use it, and several processes at once.

    `problem` is a message for the user if rows wait (`in_memory`), or if the file had to be mended; else None.

    Args:
        mends: set a damaged file aside, and sum up old rows: one process does.
    """

    def __init__(self, path: Path, mends: bool = True) -> None:
        self.path = path
        self.problem: str | None = None
        self.in_memory = False
        self._mends = mends
        self._guard = threading.Lock()
        self._waiting: deque[_Statement] = deque()
        self._lost = 0
        self._left: tuple[int, ...] | None = None  # the file, as it was left
        self._rolled_up = ""  # the day of the last time
        self._retry: threading.Timer | None = None
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._thread.submit(self._write)

    def record(self, row: Row) -> None:
        """Write a row, soon; does not raise if the disk fails."""
        self._add(_INSERT, astuple(row))

    def show(self, row_id: str, characters: int) -> None:
        """The editor shows a completion, as in `Row.with_shown`; unknown ids are ignored."""
        self._add(_SHOW, (characters, row_id))

    def accept(self, row_id: str, characters: int | None) -> None:
        """The user accepted characters of a completion, as in `Row.with_accepted`; unknown ids are ignored."""
        self._add(_ACCEPT, (characters, row_id))

    def retain(self, row_id: str) -> None:
        """An accepted completion was still in the document half a minute later; unknown ids are ignored."""
        self._add(_RETAIN, (row_id,))

    def today(self) -> Totals:
        """Totals of the current day (UTC), with what was recorded before."""
        return self._read(lambda database: totals_of_today(_query(database)))

    def report(self) -> Report:
        """Totals of today and of all rows, by day (the last 31 with any), language and model, with what was recorded before."""
        return self._read(lambda database: report_of(_query(database)))

    def rows(self) -> Iterator[Row]:
        """Every row, the oldest first, with what was recorded before."""
        yield from self._read(lambda database: list(rows_of(database)))

    def close(self) -> None:
        """Write what waits, if it can be; later rows are dropped, and later reports are empty."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        with contextlib.suppress(FutureTimeout):  # a disk that hangs
            self._thread.submit(self._write).result(_CLOSE_SECONDS)
        if self._waiting or self._lost:
            log.warning("%d statements of the energy ledger were lost", len(self._waiting) + self._lost)
        if self._retry is not None:
            self._retry.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _add(self, text: str, values: tuple[Any, ...]) -> None:
        with self._guard:
            if self._closed:
                return
            self._waiting.append(_Statement(text, values))
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self._lost += 1
            if self._retry is None:  # else it is tried then
                self._thread.submit(self._write)

    def _read(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        """Read a snapshot on the caller's thread, so that nothing waits for a long report."""
        written: Future[None] | None = None
        with self._guard:
            if not self._closed:
                written = self._thread.submit(self._write)
        if written is not None:
            written.result()
            with contextlib.suppress(*FAILURES), contextlib.closing(self._snapshot()) as database:
                return read(database)
        with contextlib.closing(_new_in_memory()) as database:
            return read(database)

    def _snapshot(self) -> sqlite3.Connection:
        """What the file has, and what waits for it."""
        with self._guard:
            waiting = tuple(self._waiting)
        if not waiting:
            return open_to_read(self.path)
        database = _new_in_memory()
        with contextlib.suppress(*FAILURES), contextlib.closing(open_to_read(self.path)) as file:
            rows = file.execute(f"SELECT {', '.join(COLUMNS)} FROM completions")
            database.executemany(_INSERT, rows)
        _execute(database, waiting)
        return database

    # --- on the ledger's thread ---------------------------------------------------------------------------
    def _write(self) -> None:
        """Write what waits, in order, and mend the file if need be."""
        with self._guard:
            if self._retry is not None:
                self._retry.cancel()
                self._retry = None
        try:
            try:
                self._write_once()
            except FAILURES as error:
                if not (self._mends and unusable(error)):
                    raise
                self._set_aside(error)
                self._write_once()
        except FAILURES as error:
            self._wait(error)
        except Exception:
            log.exception("the energy ledger failed")

    def _write_once(self) -> None:
        state, today = _state_of(self.path), today_text()
        with self._guard:
            waiting = tuple(self._waiting)
        if not waiting and state == self._left and self._rolled_up == today:
            return
        if self._left is not None and state != self._left:
            self._notice(state, self._left)
        with contextlib.closing(open_to_write(self.path, check=state != self._left)) as database:
            if self._mends and self._rolled_up != today:
                with contextlib.suppress(*FAILURES):  # it can wait until tomorrow
                    roll_up(database)
            self._rolled_up = today
            if waiting:
                database.execute("BEGIN IMMEDIATE")
                _execute(database, waiting)
                database.execute("COMMIT")
        with self._guard:
            written = set(map(id, waiting))
            while self._waiting and id(self._waiting[0]) in written:  # some may have been lost meanwhile
                self._waiting.popleft()
        self._left = _state_of(self.path)
        if self.in_memory:
            self.in_memory, self.problem = False, None
            log.info("the energy ledger is written again")

    def _notice(self, now: tuple[int, ...], left: tuple[int, ...]) -> None:
        """Say what happened to the file, if it is a loss."""
        if not now or now[2] == 0:
            self._set_problem(f"The energy ledger {self.path} was removed while the engine ran; a new one was created.")
        elif now[:2] != left[:2]:
            self._set_problem(f"The energy ledger {self.path} was replaced while the engine ran; the new one is used.")

    def _wait(self, error: Exception) -> None:
        """What could not be written waits for the next attempt."""
        self.in_memory = True
        self._set_problem(
            f"The energy ledger {self.path} cannot be written ({in_one_line(error)}); its rows wait in memory. "
            "Free some disk space, or set GREEN_CODE_DATA_DIR to a writable folder."
        )
        with self._guard:
            if not self._closed:
                self._retry = threading.Timer(RETRY_SECONDS, self._try_again)
                self._retry.daemon = True
                self._retry.start()

    def _try_again(self) -> None:
        with contextlib.suppress(RuntimeError):  # it was closed
            self._thread.submit(self._write)

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{now_text().replace(':', '')[:17]}")
        self.path.replace(aside)
        for suffix in ("-wal", "-shm"):  # the WAL may hold rows that are not in the file yet
            if (beside := self.path.with_name(self.path.name + suffix)).exists():
                beside.replace(aside.with_name(aside.name + suffix))
        self._left = None
        self._set_problem(
            f"The energy ledger cannot be used ({in_one_line(error)}). It is now {aside.name}; a new one was created."
        )

    def _set_problem(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem


def _state_of(path: Path) -> tuple[int, ...]:
    """Which file it is, its size and its time; empty where there is none."""
    try:
        info = path.stat()
    except OSError:
        return ()
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def _execute(database: sqlite3.Connection, statements: tuple[_Statement, ...]) -> None:
    for statement in statements:
        try:
            database.execute(*statement)
        except _NEVER_RIGHT:
            log.exception("the energy ledger refuses a statement")


def _new_in_memory() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.execute(f"CREATE TABLE completions ({SCHEMA})")
    return database


def _query(database: sqlite3.Connection) -> Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]:
    return lambda statement, values: database.execute(statement, values).fetchall()
