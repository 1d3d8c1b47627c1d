"""Another user of the machine tries to read, write, connect and signal. Needs root, whose child becomes nobody."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from green_code.folders import cache_dir, data_dir, ledger_path, runtime_dir
from green_code.link.discovery import place
from green_code.models.rows import TINY
from tests.trials.rig import Engine, Peer, workplace
from tests.trials.runner import SKIPPED, Outcome, Plan

NOBODY = 65534


def other_user(plan: Plan) -> Outcome:
    """All folders lie where anyone may pass, and have the modes of an earlier version."""
    outcome = Outcome("attempts of another user: read, write, connect, signal", 0)
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        outcome.figures = f"{SKIPPED}only root can become another user"
        return outcome
    plan.folder.chmod(0o755)
    before = os.umask(0o022)
    try:
        with workplace(plan.folder):
            for name in ("run", "data", "cache"):
                (plan.folder / name).mkdir(exist_ok=True)
                (plan.folder / name).chmod(0o755)
            with Engine() as engine, Peer() as peer:
                peer.hello(TINY)
                peer.complete("x = ")
                tried = attempts(Path(place().address), place().lock_path, place().log_path, engine.pid or 0)
                succeeded = _as_nobody(lambda: [name for name, attempt in tried.items() if _succeeds(attempt)])
    finally:
        os.umask(before)
    outcome.count, outcome.failures = len(tried), succeeded
    return outcome


def attempts(address: Path, lock: Path, log: Path, pid: int) -> dict[str, Callable[[], object]]:
    """Each raises OSError where it is refused; files are found beforehand, as a user who has guessed their names."""

    def connect() -> None:
        with socket.socket(socket.AF_UNIX) as to:
            to.connect(str(address))

    weights = next(path for path in sorted(cache_dir().rglob("*")) if path.is_file())
    run, data, cache, ledger = runtime_dir(), data_dir(), cache_dir(), ledger_path()
    return {
        "connect to the socket": connect,
        "remove the socket": address.unlink,
        "list the runtime folder": lambda: [*run.iterdir()],
        "write to the runtime folder": lambda: (run / "x").write_bytes(b""),
        "read the lock": lock.read_bytes,
        "read the log": log.read_bytes,
        "list the data folder": lambda: [*data.iterdir()],
        "read the ledger": ledger.read_bytes,
        "write the ledger": lambda: ledger.open("r+b").close(),
        "list the cache": lambda: [*cache.iterdir()],
        "read converted weights": weights.read_bytes,
        "write to the cache": lambda: (cache / "x").write_bytes(b""),
        "end the engine": lambda: os.kill(pid, signal.SIGTERM),
        "read the engine's memory": lambda: Path(f"/proc/{pid}/mem").open("rb").close(),
    }


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _as_nobody(function: Callable[[], list[str]]) -> list[str]:
    """In a child without an interpreter of its own, which nobody might not be able to read."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(write, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answers:
        text = answers.read()
    os.waitpid(child, 0)
    succeeded: list[str] = json.loads(text)
    return succeeded
