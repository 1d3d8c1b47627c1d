"""The system fails: the disk is full, cannot be written or is slow, the clock jumps, memory cannot be allocated."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from green_code.folders import ledger_path
from green_code.models.rows import TINY
from tests.trials.faults import Faults
from tests.trials.rig import Ended, Engine, Hang, Peer, engine_pid, percentiles, until, workplace
from tests.trials.runner import SKIPPED, Outcome, Plan

PREFIX = "total = first + second\nvalue = first + "
DAY = 86_400


def disk(plan: Plan) -> Outcome:
    """A file system of 3 MB for the ledger: filled up and emptied, then read-only; completions go on, and rows are written again. Then one
    that is full for the cache: one sentence, and after that a model."""
    count = plan.times(20)
    outcome = Outcome("completions on a disk that is full, then has room, then cannot be written", 0)
    if not _may_mount(plan.folder):
        outcome.figures = f"{SKIPPED}only root may mount a file system"
        return outcome
    with workplace(plan.folder), _mounted(plan.folder / "data", "3m"), Engine(), Peer() as peer:
        peer.hello(TINY)
        _ask(peer, outcome, count)
        filler = plan.folder / "data" / "filler"
        _fill(filler)
        _ask(peer, outcome, count)
        filler.unlink()
        _ask(peer, outcome, count)
        _expect_rows(outcome, 3 * count)
        _remount(plan.folder / "data", "ro")
        _ask(peer, outcome, count)
        _remount(plan.folder / "data", "rw")
        _ask(peer, outcome, count)
        _expect_rows(outcome, 5 * count)
    second = plan.folder / "full"
    with workplace(second), _mounted(second / "cache", "1m"), Engine(), Peer() as peer:
        filler = second / "cache" / "filler"
        _fill(filler)
        peer.hello()
        answer = peer.complete(PREFIX)
        outcome.count += 1
        if answer.get("error", {}).get("code") != "cache_unwritable":
            outcome.failures.append(f"a full disk for the cache gave {str(answer)[:200]}")
        filler.unlink()
        _remount(second / "cache", "size=64m")
        with suppress(Hang):  # a failed load is tried again after a while
            until(lambda: "result" in peer.complete(PREFIX))
        _ask(peer, outcome, 2)
    return outcome


def _may_mount(folder: Path) -> bool:
    with suppress(subprocess.CalledProcessError, OSError), _mounted(folder / "probe", "1m"):
        return True
    return False


@contextmanager
def _mounted(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "green-code-trial", str(folder))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(folder))


def _remount(folder: Path, how: str) -> None:
    _run("mount", "-o", f"remount,{how}", str(folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _fill(filler: Path) -> None:
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def _ask(peer: Peer, outcome: Outcome, count: int, model: str = TINY) -> None:
    for _ in range(count):
        answer = peer.complete(PREFIX, model)
        outcome.count += 1
        if "result" not in answer:
            outcome.failures.append(f"request {outcome.count}: {str(answer)[:300]}")


def _expect_rows(outcome: Outcome, least: int) -> None:
    """All completions have rows, within some seconds: what waits is written with the next row, or after a while."""
    deadline = time.monotonic() + 5
    while (rows := _rows()) < least:
        if time.monotonic() > deadline:
            outcome.failures.append(f"the ledger has {rows} rows of {least}")
            return
        time.sleep(0.1)


def _rows() -> int:
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{ledger_path()}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM completions").fetchone()[0])
    return 0


def slow_disk(plan: Plan) -> Outcome:
    """Each fsync takes half a second."""
    outcome = Outcome("completions while each fsync takes half a second", 0)
    faults = Faults(plan.folder)
    with workplace(plan.folder, **faults.variables):
        faults.set(fsync_ms=500)
        waits = []
        with Engine(), Peer() as peer:
            peer.hello(TINY)
            _ask(peer, outcome, 1)
            for _ in range(plan.times(100)):
                began = time.monotonic()
                _ask(peer, outcome, 1)
                waits.append(time.monotonic() - began)
    outcome.figures = percentiles(waits)
    if sorted(waits)[len(waits) // 2] >= 0.5:
        outcome.failures.append("completions wait for the disk")
    return outcome


def clock(plan: Plan) -> Outcome:
    """The wall clock jumps by up to 40 days in both directions between requests."""
    outcome = Outcome("completions while the clock jumps by up to 40 days", 0)
    numbers, faults = random.Random(f"clock {plan.seed}"), Faults(plan.folder)
    with workplace(plan.folder, **faults.variables), Engine() as engine, Peer() as peer:
        peer.hello(TINY)
        for _ in range(plan.times(100)):
            faults.set(clock_seconds=numbers.randrange(-40 * DAY, 40 * DAY))
            _ask(peer, outcome, 1)
            if "result" not in peer.request("report", {}):
                outcome.failures.append("no report")
        if engine_pid() != engine.pid:
            outcome.failures.append("the engine has ended")
        _expect_rows(outcome, outcome.count)
    return outcome


def allocations(plan: Plan) -> Outcome:
    """Allocations of 16 KiB and more fail, one in 2 to 50, while a model is loaded or completes. A request may fail and an engine may end;
    without failures the text is the right one again, from the same engine or from another."""
    outcome = Outcome("loads and completions while allocations fail", plan.times(40))
    numbers, faults = random.Random(f"allocations {plan.seed}"), Faults(plan.folder)
    refused = ended = 0
    with workplace(plan.folder, **faults.variables):
        with Engine(), Peer() as peer:
            peer.hello()
            wanted = peer.complete(PREFIX)["result"]["text"]
        for number in range(outcome.count):
            if number % 5 == 4:  # converted anew
                shutil.rmtree(plan.folder / "cache", ignore_errors=True)
            with Engine():
                try:
                    with Peer() as peer:
                        peer.hello()
                        faults.set(
                            fail_from_bytes=numbers.choice((1 << 14, 1 << 17, 1 << 20)),
                            fail_one_in=numbers.randrange(2, 50),
                        )
                        for prefix in (PREFIX, PREFIX * 20):
                            refused += "error" in peer.complete(prefix)
                except Ended:
                    ended += 1
                except Hang as error:
                    outcome.failures.append(f"{number}: {error} while allocations failed")
                finally:
                    faults.set()
                found = _text_again()
            if found != wanted:
                outcome.failures.append(f"{number}: then the text was {found}")
    outcome.figures = f"{refused} requests refused, {ended} engines ended"
    return outcome


def _text_again() -> str:
    """What a right request gives; a failed load is tried again after a while, and an engine that has ended is started."""
    found: dict[str, Any] = {}

    def answered() -> bool:
        with suppress(Ended, OSError), Peer() as peer:
            peer.hello()
            found.clear()
            found.update(peer.complete(PREFIX))
            return "result" in found or found.get("error", {}).get("message", "").startswith("Loading")
        Engine()  # the workplace ends it
        return False

    with suppress(Hang):
        until(answered)
    result = found.get("result", found)
    return str(result["text"] if isinstance(result, dict) and "text" in result else result)


def available() -> bool:
    """faults.c needs Linux with glibc."""
    return sys.platform == "linux" and hasattr(os, "confstr") and bool(os.confstr("CS_GNU_LIBC_VERSION"))
