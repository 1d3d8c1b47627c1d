"""Finding the engine, starting it if there is none, and ensuring that there is only one.

The address holds the protocol, the package version and a digest of the installation and its folders, so processes that
differ in one of them never connect. An engine holds the lock of its address while it lives; a stale socket is removed
under that lock only. Of several processes that need an engine, one starts it, and the others wait for it. Starting is idempotent:
of two engines that start at once, the one without the lock exits with ALREADY_RUNNING, and the process that started it connects to
the other.
Must not know: what an engine does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import green_code
from green_code import folders
from green_code.link import client, messages, transport
from green_code.lock import ProcessLock, read_note
from green_code.problems import Problem, shown

log = logging.getLogger(__name__)

ALREADY_RUNNING = 75
"""Exit status of an engine if another one holds the lock (EX_TEMPFAIL)."""

START_SECONDS = 30.0
POLL_SECONDS = 0.02
STOP_SECONDS = 5.0
"""How long an engine may take to end after a shutdown request, and again after each signal."""
RESTART_SECONDS = 0.5
"""Pause before another start if the last child found an engine that does not listen yet, or no longer."""
TAIL_BYTES = 2000
START_LOG_LIMIT_BYTES = 1 << 20
ENGINE_COMMAND = (sys.executable, "-m", "green_code", "engine")


@dataclass(frozen=True)
class Place:
    """Where the engine of this version and installation is found."""

    folder: Path
    name: str

    @property
    def address(self) -> str:
        """The socket's path, or the pipe's name on Windows."""
        if sys.platform == "win32":
            return f"{transport.PIPE_PREFIX}{folders.APPLICATION}-{self.name}-{secret_in(self.folder / 'pipe')}"
        return str(self.folder / f"{self.name}.sock")

    @property
    def lock_path(self) -> Path:
        """Locked by the engine for its life."""
        return self.folder / f"{self.name}.lock"

    @property
    def start_lock_path(self) -> Path:
        """Locked by the process that starts the engine, meanwhile."""
        return self.folder / f"{self.name}-start.lock"

    @property
    def losses_path(self) -> Path:
        """How often engines in a row have lost their device."""
        return self.folder / f"{self.name}-device-losses"

    @property
    def log_path(self) -> Path:
        """The engine's rotating log."""
        return self.folder / f"{self.name}.log"

    @property
    def start_log_path(self) -> Path:
        """Standard output and error of engines: messages before their log is open, and crashes."""
        return self.folder / f"{self.name}-start.log"


def place() -> Place:
    """The place for this process's version, installation and folders; creates the runtime folder."""
    parts = (
        str(Path(green_code.__file__).resolve().parent),
        sys.prefix,
        str(folders.cache_dir()),
        str(folders.data_dir()),
        str(folders.bundles_dir()),
    )
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    return Place(folders.runtime_dir(), f"engine-{messages.PROTOCOL}-{green_code.__version__}-{digest}")


def secret_in(path: Path) -> str:
    """A random part of a pipe's name, so that no other user can guess the name and listen there first.

    It is created once, in a private folder. Open pipes can be listed: whoever has seen the name can listen there after the
    engine has ended.
    """
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(secrets.token_hex(16), "utf-8")
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(part, path)
        part.unlink()
    return path.read_text("utf-8")


class Claim:
    """The right to be the engine of a place; also removes a dead engine's socket."""

    def __init__(self, where: Place) -> None:
        self._where = where
        self._lock = ProcessLock(where.lock_path)

    def take(self) -> bool:
        """Become the engine, or return False if another one lives.

        Raises:
            Problem: the runtime folder's file system has no locks, or cannot be written.
        """
        note = {
            "pid": os.getpid(),
            "started": _start_time(psutil.Process()),
            "version": green_code.__version__,
            "address": self._where.address,
        }
        try:
            if not self._lock.acquire(note):
                return False
        except OSError as error:
            raise Problem(
                "cache_unwritable",
                f"{self._where.lock_path} cannot be locked ({error}). Set {folders.RUNTIME_VARIABLE} to a folder on a local disk.",
            ) from error
        self._remove_socket()
        return True

    def release(self) -> None:
        """Remove the socket, then free the lock; without effect if called again, when the socket may be another engine's."""
        if self._lock.held:
            self._remove_socket()
        self._lock.release()

    def _remove_socket(self) -> None:
        if sys.platform != "win32":
            Path(self._where.address).unlink(missing_ok=True)


async def find_engine(
    where: Place,
    *,
    asks: messages.Hello | None = None,
    on_notification: client.OnNotification = client.ignore_notification,
    on_lost: client.OnLost = lambda: None,
) -> client.EngineClient | None:
    """A connection to the running engine, or None if there is none."""
    try:
        return await client.open_client(where.address, asks=asks, on_notification=on_notification, on_lost=on_lost)
    except OSError:
        return None
    except Problem as problem:
        if problem.reason == "engine_lost":  # it was about to end
            return None
        raise


async def ensure_engine(
    where: Place,
    *,
    asks: messages.Hello | None = None,
    on_notification: client.OnNotification = client.ignore_notification,
    on_lost: client.OnLost = lambda: None,
    command: tuple[str, ...] = ENGINE_COMMAND,
    start_seconds: float = START_SECONDS,
) -> client.EngineClient:
    """A connection to the engine, which is started if there is none; many processes may call it at once.

    Raises:
        Problem: the engine could not be started, ended at once (with the end of its output), or did not listen in time.
    """
    child: _Child | None = None
    start_at = time.monotonic()
    deadline = start_at + start_seconds
    starter = ProcessLock(where.start_lock_path)
    try:
        while True:
            found = await find_engine(where, asks=asks, on_notification=on_notification, on_lost=on_lost)
            if found is not None:
                if child is not None:
                    child.end_unless(found.engine_pid)
                return found
            if child is None:
                if time.monotonic() >= start_at:
                    try:
                        if starter.held or starter.acquire({"pid": os.getpid()}):
                            child = _Child(where, command)
                    except OSError as error:
                        raise Problem(
                            "engine_lost",
                            f"The engine cannot be started: {error}. If Green Code was updated or moved, reload the window; "
                            "else run Green Code: Diagnose (`green-code doctor`).",
                        ) from error
            elif (status := child.status()) == ALREADY_RUNNING:
                child, start_at = None, time.monotonic() + RESTART_SECONDS
            elif status is not None:
                raise Problem(
                    "engine_lost",
                    f"The engine ended at once with status {status}. Its output: {child.output() or 'none'}. "
                    "Run Green Code: Diagnose (`green-code doctor`).",
                )
            if time.monotonic() > deadline:
                raise Problem(
                    "engine_lost",
                    f"The engine did not listen within {start_seconds:.0f} s. "
                    f"See {where.log_path}, or run Green Code: Diagnose (`green-code doctor`).",
                )
            await asyncio.sleep(POLL_SECONDS)
    finally:
        starter.release()


async def end_engine(where: Place) -> bool:
    """End the engine of a place by a request, or by force if it does not answer. False: there was none."""
    try:
        return await asyncio.wait_for(_shut_down(where), STOP_SECONDS)
    except asyncio.TimeoutError:
        await asyncio.to_thread(_kill, where)
    except Problem as problem:
        if problem.reason == "engine_hanging":
            await asyncio.to_thread(_kill, where)
        elif problem.reason != "engine_lost":
            raise
    return True


async def _shut_down(where: Place) -> bool:
    """Send `shutdown` and wait until the engine closes the connection; then it no longer listens. False: there is none."""
    engine = await find_engine(where)
    if engine is None:
        return False
    try:
        await engine.request(messages.SHUTDOWN, {})
        while engine.alive:
            await asyncio.sleep(0.01)
    finally:
        await engine.close()
    return True


def end_hanging(where: Place, pid: int) -> None:
    """End the engine of a place by force if it still is the process `pid`. May take STOP_SECONDS twice.

    Raises:
        Problem: see `_kill`.
    """
    note = read_note(where.lock_path)
    if note is not None and note.get("pid") == pid:
        _kill(where)


def _kill(where: Place) -> None:
    """End the process that holds the lock of a place; it has just listened there, as this user.

    Raises:
        Problem: the process that the lock names is not the engine that took it.
    """
    if (note := read_note(where.lock_path)) is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = _engine_of(note)
        log.warning("engine %s does not answer and is killed", process.pid)
        for end in (process.terminate, process.kill):  # a suspended process obeys only the second
            end()
            if psutil.wait_procs([process], STOP_SECONDS)[0]:
                break


def _engine_of(note: dict[str, Any]) -> psutil.Process:
    """The process that wrote a lock's note. A number alone may by now be another process's.

    Raises:
        psutil.NoSuchProcess: it has ended.
        Problem: the process of that number is another one, or its facts cannot be read.
    """
    pid = note.get("pid")
    try:
        if type(pid) is int and 0 < pid < 1 << 31 and pid != os.getpid():
            process, here = psutil.Process(pid), psutil.Process()
            interpreters = {os.path.realpath(path) for path in (sys.executable, here.exe())}
            facts = process.username(), os.path.realpath(process.exe()) in interpreters, _start_time(process)
            if facts == (here.username(), True, note.get("started")):
                return process
    except psutil.AccessDenied:
        pass
    raise Problem(
        "engine_hanging",
        f"The engine does not answer, and process {shown(pid)}, which its lock names, is not the one that took the lock. "
        "End the engine by hand, or sign out and in again.",
    )


def _start_time(process: psutil.Process) -> int:
    """When a process started, in whole seconds: of the clock, or on Linux since the boot, from which psutil computes the clock's,
    so that this stays the same when the clock is set."""
    booted = psutil.boot_time() if sys.platform == "linux" else 0.0
    return int(process.create_time() - booted + 0.5)


def _absolute_environment() -> dict[str, str]:
    """Of an engine, whose current folder is another: there, relative paths would lead to other folders, and to another installation."""
    environment = {**os.environ, **folders.environment()}
    if modules := environment.get("PYTHONPATH"):
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, modules.split(os.pathsep)))
    return environment


class _Child:
    """A detached engine process during its start."""

    def __init__(self, where: Place, command: tuple[str, ...]) -> None:
        self._log_path = where.start_log_path
        if self._log_path.exists() and self._log_path.stat().st_size > START_LOG_LIMIT_BYTES:
            os.truncate(self._log_path, 0)
        with self._log_path.open("ab") as output:
            self._output_start = output.tell()
            # On Windows: a group of its own and a console without a window. Without a console, the interpreter that a
            # virtual environment's python.exe starts would open one.
            detached = (
                {"creationflags": 0x00000200 | 0x08000000} if sys.platform == "win32" else {"start_new_session": True}
            )
            log.info("starting the engine: %s", " ".join(command))
            self._process = subprocess.Popen(  # the folder is private, so no file in it shadows a module
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=where.folder,
                env=_absolute_environment(),
                **detached,
            )
        threading.Thread(target=self._process.wait, name="reap-engine", daemon=True).start()

    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        code: int | None = self._process.poll()
        return code

    def end_unless(self, engine_pid: int) -> None:
        """End this process if another one is the engine: it must not become the engine later.

        Not on Windows, where a virtual environment's python.exe is a parent of the process that it starts.
        """
        if sys.platform != "win32" and self._process.pid != engine_pid and self.status() is None:
            self._process.terminate()

    def output(self) -> str:
        """The end of its output, on one line."""
        with self._log_path.open("rb") as output:
            output.seek(self._output_start)
            text = output.read()[-TAIL_BYTES:].decode(errors="replace")
        return " | ".join(line.strip() for line in text.splitlines() if line.strip())
