"""The energy ledger: one SQLite row per completion, without any text of the user's.

WAL with synchronous=NORMAL: a row that was recorded survives the death of the process (kill −9); a power cut
may take the last ones. A damaged file is set aside and a new one begun; where nothing can be written, rows
are kept in memory and the reason is told once (`problem`): completions go on in either case.
Must not know: lsp, link, engine or decoding. The shapes are compared with the link's by a test.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypedDict

from green_code.problems import Problem

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One completion. Joules are joules; `time` is UTC in ISO 8601."""

    id: str
    time: str
    language: str
    model: str
    decoding: str
    threshold: str
    tokens: int
    exit_layers: int  # the layers that decoded the tokens, added up
    layers_run: int
    layers_total: int
    prompt_tokens: int
    prompt_layers_run: int
    energy_joules: float
    energy_full_joules: float
    energy_source: str
    cpu_seconds: float
    wall_seconds: float
    reason: str
    shown: int = 0  # 1: there was a text, and the editor was given it
    accepted: int = 0
    kept: int = 0  # 1: half a minute after it was accepted it was still there


class Totals(TypedDict):
    """Sums over rows. Cancelled and superseded ones and checks cost joules but are no completions."""

    completions: int
    shown: int
    accepted: int
    kept: int
    tokens: int
    energy_joules: float
    energy_full_joules: float
    saved_joules: float
    saving: float
    mean_layers: float
    cpu_seconds: float


class DayTotals(Totals):
    """Totals of one day (UTC)."""

    day: str


class LanguageTotals(Totals):
    """Totals of one language."""

    language: str


class ModelTotals(Totals):
    """Totals of one model."""

    model: str


class Report(TypedDict):
    """Everything the energy report shows."""

    today: Totals
    all: Totals
    by_day: list[DayTotals]
    by_language: list[LanguageTotals]
    by_model: list[ModelTotals]
    source: str | None


CHECK = "check"
"""Reason of a row that is a completion done again at full depth (engine/shadow.py)."""

UNFINISHED = ("cancelled", "superseded", CHECK)
"""Reasons of rows that are no completions."""

_COLUMNS = tuple(field.name for field in fields(Row))
_TYPES = {"int": "INTEGER", "float": "REAL", "str": "TEXT"}
_SCHEMA = ", ".join(
    f"{field.name} {_TYPES[str(field.type)]} NOT NULL" + (" PRIMARY KEY" if field.name == "id" else "")
    for field in fields(Row)
)
_INSERT = f"INSERT INTO completions ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_SUMS = (
    f"COALESCE(SUM(reason NOT IN {UNFINISHED}), 0), COALESCE(SUM(shown), 0), COALESCE(SUM(accepted), 0), "
    "COALESCE(SUM(kept), 0), COALESCE(SUM(tokens), 0), COALESCE(SUM(energy_joules), 0.0), COALESCE(SUM(energy_full_joules), 0.0), "
    "COALESCE(SUM(exit_layers), 0), COALESCE(SUM(cpu_seconds), 0.0)"
)
_VERSION = 2
_REPORT_DAYS = 31


def new_id() -> str:
    """An id for a row."""
    return uuid.uuid4().hex


def now_text() -> str:
    """The time as rows carry it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def today_text() -> str:
    """The day (UTC) as `time` begins with it."""
    return now_text()[:10]


class Tally:
    """Totals of rows as they come, by the same rules as the ledger's own."""

    def __init__(self) -> None:
        self._sums = [0, 0, 0, 0, 0, 0.0, 0.0, 0, 0.0]

    def add(self, row: Row) -> None:
        """Count a row."""
        completed = row.reason not in UNFINISHED
        values = (
            int(completed),
            row.shown,
            row.accepted,
            row.kept,
            row.tokens,
            row.energy_joules,
            row.energy_full_joules,
            row.exit_layers,
            row.cpu_seconds,
        )
        self._sums = [total + value for total, value in zip(self._sums, values, strict=True)]

    def accept(self) -> None:
        """One of the counted rows was accepted."""
        self._sums[2] += 1

    def keep(self) -> None:
        """One of the accepted rows was kept."""
        self._sums[3] += 1

    def totals(self) -> Totals:
        """The sums so far."""
        return _totals(tuple(self._sums))


def _totals(sums: tuple[Any, ...]) -> Totals:
    completions, shown, accepted, kept, tokens, joules, full_joules, layers, cpu_seconds = sums
    return Totals(
        completions=completions,
        shown=shown,
        accepted=accepted,
        kept=kept,
        tokens=tokens,
        energy_joules=joules,
        energy_full_joules=full_joules,
        saved_joules=full_joules - joules,
        saving=1 - joules / full_joules if full_joules > 0 else 0.0,
        mean_layers=layers / tokens if tokens else 0.0,
        cpu_seconds=cpu_seconds,
    )


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
        self._database = self._open()

    def record(self, row: Row) -> None:
        """Keep a row; never raises for the disk's sake."""
        with self._guard:
            try:
                self._database.execute(_INSERT, astuple(row))
            except sqlite3.DatabaseError as error:
                self._recover(error)
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute(_INSERT, astuple(row))

    def accept(self, row_id: str) -> None:
        """Note that the user took a completion; unknown ids are ignored."""
        self._run("UPDATE completions SET accepted = 1 WHERE id = ?", (row_id,))

    def keep(self, row_id: str) -> None:
        """Note that an accepted completion was still there after half a minute; unknown ids are ignored."""
        self._run("UPDATE completions SET kept = 1 WHERE id = ?", (row_id,))

    def today(self) -> Totals:
        """Totals of the current day (UTC)."""
        return _totals(self._sums("WHERE time >= ?", (today_text(),)))

    def report(self) -> Report:
        """Totals of today and of all rows, by day (the last 31 with any), language and model."""
        days = self._run(
            f"SELECT substr(time, 1, 10) AS key, {_SUMS} FROM completions GROUP BY key ORDER BY "
            "key DESC LIMIT ?",
            (_REPORT_DAYS,),
        )
        languages, models = (
            self._run(f"SELECT {key}, {_SUMS} FROM completions GROUP BY {key} ORDER BY 2 DESC, 1", ())
            for key in ("language", "model")
        )
        newest = self._run("SELECT energy_source FROM completions ORDER BY time DESC LIMIT 1", ())
        return Report(
            today=self.today(),
            all=_totals(self._sums("", ())),
            by_day=[DayTotals(day=row[0], **_totals(row[1:])) for row in reversed(days)],
            by_language=[LanguageTotals(language=row[0], **_totals(row[1:])) for row in languages],
            by_model=[ModelTotals(model=row[0], **_totals(row[1:])) for row in models],
            source=newest[0][0] if newest else None,
        )

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
        """Close the file."""
        with self._guard:
            self._database.close()

    def _sums(self, where: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
        rows = self._run(f"SELECT {_SUMS} FROM completions {where}", values)
        return rows[0] if rows else (0, 0, 0, 0, 0, 0.0, 0.0, 0, 0.0)

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._guard:
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
        except (OSError, sqlite3.OperationalError) as error:
            return self._in_memory(error)
        except sqlite3.DatabaseError as error:
            return self._set_aside(error)

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        """Go on after an error in use; the guard is held."""
        if "locked" in str(error):
            log.warning("the energy ledger is busy; one entry is lost: %s", error)
            return
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        corrupt = not isinstance(error, (sqlite3.OperationalError, sqlite3.IntegrityError))
        self._database = self._set_aside(error) if corrupt else self._in_memory(error)

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


def _connect(path: str) -> sqlite3.Connection:
    """Open and prepare; every statement is its own transaction."""
    database = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):  # a newer engine may be writing it; an older one is of no use
            error = sqlite3.OperationalError if version > _VERSION else sqlite3.DatabaseError
            raise error(f"schema version {version}, this release knows {_VERSION}")
        database.execute(f"CREATE TABLE IF NOT EXISTS completions ({_SCHEMA})")
        database.execute("CREATE INDEX IF NOT EXISTS completions_time ON completions (time)")
        database.execute(f"PRAGMA user_version = {_VERSION}")
    except BaseException:
        database.close()
        raise
    return database
