"""Finding and starting engines: stale sockets and locks, other versions, races, early deaths."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import green_code
from green_code.cli.engine import stop_engine
from green_code.link import client as client_module
from green_code.link import discovery, framing, transport
from green_code.link.messages import PROTOCOL
from green_code.lock import ProcessLock, read_note
from green_code.problems import Problem
from tests.engine.fake_runtime import completion_params

FAKE = Path(__file__).resolve().parents[1] / "engine" / "fake_runtime.py"
COMMAND = (sys.executable, str(FAKE))
WAIT_SECONDS = 60.0
sockets = pytest.mark.skipif(sys.platform == "win32", reason="Windows has named pipes, not socket files")
modes = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes and owners of this kind")
signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[discovery.Place]:
    monkeypatch.setenv("GREEN_CODE_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("GREEN_CODE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(green_code.__file__).resolve().parents[1]))
    yield discovery.place()
    asyncio.run(stop_engine())


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def start_and_leave(where: discovery.Place) -> int:
    client = await discovery.ensure_engine(where, command=COMMAND)
    await client.close()
    return client.engine_pid


def test_starting_and_stopping_are_idempotent(where: discovery.Place) -> None:
    pid = asyncio.run(start_and_leave(where))
    assert asyncio.run(start_and_leave(where)) == pid
    note = read_note(where.lock_path)
    assert note is not None and note["pid"] == pid and note["version"] == green_code.__version__
    assert asyncio.run(stop_engine()) is True
    assert asyncio.run(stop_engine()) is False
    wait_for(lambda: has_ended(pid))
    assert not Path(where.address).exists()


@modes
def test_folder_and_socket_are_private(where: discovery.Place) -> None:
    asyncio.run(start_and_leave(where))
    assert stat.S_IMODE(where.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(where.address).stat().st_mode) == 0o600
    assert stat.S_IMODE(where.log_path.stat().st_mode) == 0o600


def test_the_address_carries_protocol_version_and_installation(
    where: discovery.Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert f"engine-{PROTOCOL}-{green_code.__version__}-" in where.address
    monkeypatch.setenv("GREEN_CODE_DATA_DIR", str(tmp_path / "elsewhere"))
    assert discovery.place().address != where.address


def test_two_starters_at_once_give_one_engine(where: discovery.Place) -> None:
    async def race() -> list[int]:
        return list(await asyncio.gather(*(start_and_leave(where) for _ in range(3))))

    pids = asyncio.run(race())
    assert len(set(pids)) == 1
    assert "already listens" not in where.start_log_path.read_text(), "one process starts it, the others wait"


def test_relative_folders_are_the_starters(
    where: discovery.Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, folder in (("RUNTIME_DIR", "run"), ("DATA_DIR", "data"), ("CACHE_DIR", "cache")):
        monkeypatch.setenv(f"GREEN_CODE_{variable}", folder)
    monkeypatch.setenv("PYTHONPATH", os.path.relpath(Path(green_code.__file__).parents[1]))
    assert discovery.place() == where
    client = asyncio.run(discovery.ensure_engine(where, command=COMMAND, start_seconds=WAIT_SECONDS))
    assert client.engine_pid


@sockets
def test_a_stale_socket_and_a_stale_lock_do_no_harm(where: discovery.Place) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(where.address)
    dead.close()
    where.lock_path.write_text('{"pid": 1, "version": "0.0.0"}')
    assert asyncio.run(start_and_leave(where)) != 1


@signals
def test_an_engine_killed_with_9_is_replaced(where: discovery.Place) -> None:
    first = asyncio.run(start_and_leave(where))
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: has_ended(first))
    assert Path(where.address).exists(), "kill -9 leaves its socket"
    assert asyncio.run(start_and_leave(where)) != first


def test_an_engine_that_hangs_is_killed(where: discovery.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = asyncio.run(start_and_leave(where))
    monkeypatch.setattr(client_module, "HELLO_SECONDS", 0.2)
    monkeypatch.setattr(discovery, "STOP_SECONDS", 0.2)
    psutil.Process(pid).suspend()
    assert asyncio.run(stop_engine()) is True
    wait_for(lambda: has_ended(pid))


@pytest.mark.parametrize("pid", [None, 0, -1, True, "1", [1], 1 << 40, pytest.param(os.getpid(), id="own")])
def test_a_note_without_a_process_of_its_own_ends_nothing(where: discovery.Place, pid: Any) -> None:
    where.lock_path.write_text(json.dumps({"pid": pid, "started": 1.0}))
    with pytest.raises(Problem, match="not the one that took the lock") as caught:
        discovery._kill(where)
    assert caught.value.reason == "engine_hanging"


@pytest.mark.parametrize("other", ["start", "program"])
def test_another_process_of_that_number_is_left_alone(where: discovery.Place, other: str) -> None:
    sleeper = (sys.executable, "-c", "import time; time.sleep(60)") if other == "start" else ("sleep", "60")
    if other == "program" and sys.platform == "win32":
        pytest.skip("Windows has no such program")
    process = subprocess.Popen(sleeper)
    try:
        started = discovery._start_time(psutil.Process(process.pid)) - (60 if other == "start" else 0)
        where.lock_path.write_text(json.dumps({"pid": process.pid, "started": started}))
        with pytest.raises(Problem, match=str(process.pid)):
            discovery._kill(where)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_only_the_engine_that_hung_is_ended(where: discovery.Place) -> None:
    pid = asyncio.run(start_and_leave(where))
    discovery.end_hanging(where, pid + 1)
    assert asyncio.run(start_and_leave(where)) == pid, "another window has replaced it"
    discovery.end_hanging(where, pid)
    assert asyncio.run(start_and_leave(where)) != pid


def test_an_engine_that_answers_no_ping_fails_the_requests_that_wait(
    where: discovery.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PING_SECONDS", 0.2)
    monkeypatch.setattr(discovery, "STOP_SECONDS", 0.2)

    async def scenario() -> None:
        client = await discovery.ensure_engine(where, command=COMMAND)
        psutil.Process(client.engine_pid).suspend()
        requests = [asyncio.ensure_future(client.request("report", {})) for _ in range(2)]
        for request in requests:
            with pytest.raises(Problem, match="did not answer") as caught:
                await asyncio.wait_for(request, WAIT_SECONDS)
            assert caught.value.reason == "engine_hanging"
        assert client.hangs
        await client.close()
        discovery.end_hanging(where, client.engine_pid)

    asyncio.run(scenario())


@sockets
def test_a_released_claim_leaves_the_next_engines_socket_alone(where: discovery.Place) -> None:
    old, new = discovery.Claim(where), discovery.Claim(where)
    assert old.take() and not new.take()
    old.release()
    assert new.take()
    Path(where.address).touch()
    old.release()
    assert Path(where.address).exists()
    new.release()


def test_a_pipes_secret_is_made_once(tmp_path: Path) -> None:
    first = discovery.secret_in(tmp_path / "pipe")
    assert len(first) == 32 and discovery.secret_in(tmp_path / "pipe") == first
    assert discovery.secret_in(tmp_path / "other") != first
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "other"}


@signals
def test_sigterm_ends_it_cleanly(where: discovery.Place) -> None:
    process = subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL)
    wait_for(Path(where.address).exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_SECONDS) == 0
    assert not Path(where.address).exists()
    assert "engine ended" in where.log_path.read_text()


def test_a_second_engine_exits_and_says_why(where: discovery.Place) -> None:
    asyncio.run(start_and_leave(where))
    second = subprocess.run(COMMAND, capture_output=True, text=True, timeout=WAIT_SECONDS)
    assert second.returncode == discovery.ALREADY_RUNNING
    assert "already listens" in second.stderr


def test_an_engine_that_ends_at_once_is_reported_with_its_output(where: discovery.Place) -> None:
    started = time.monotonic()
    with pytest.raises(Problem, match="no such library: libmodel") as caught:
        asyncio.run(discovery.ensure_engine(where, command=(*COMMAND, "--crash")))
    assert caught.value.reason == "engine_lost" and time.monotonic() - started < WAIT_SECONDS


def test_an_engine_that_never_listens_is_given_up(where: discovery.Place) -> None:
    sleeper = (sys.executable, "-c", "import time; time.sleep(2)")
    with pytest.raises(Problem, match="did not listen"):
        asyncio.run(discovery.ensure_engine(where, command=sleeper, start_seconds=0.3))


def test_another_version_is_refused(where: discovery.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(start_and_leave(where))
    with monkeypatch.context() as patch:  # undone before the fixture stops the engine
        patch.setattr(client_module, "__version__", "9.9.9")
        with pytest.raises(Problem, match=r"9\.9\.9") as caught:
            asyncio.run(discovery.find_engine(where))
    assert caught.value.reason == "other_version"


def test_a_bad_frame_closes_its_own_connection_alone(where: discovery.Place) -> None:
    async def scenario() -> None:
        good = await discovery.ensure_engine(where, command=COMMAND)
        for bad in (
            b"\xff\xff\xff\xff",
            len(b"\xc1").to_bytes(4, "big") + b"\xc1",
            framing.encode({"id": 1, "method": "status", "params": {}}),  # no hello before
            framing.encode({"id": 1, "method": "hello", "params": []}),
            framing.encode({"id": "one", "method": "hello", "params": {}}),
            framing.encode({"id": 1}),
        ):
            reader, writer = await transport.connect(where.address)
            writer.write(bad)
            assert await asyncio.wait_for(reader.read(), WAIT_SECONDS) == b""
            await transport.close(writer)
        assert (await good.request("status", {}))["state"] == "ready"
        await good.close()

    asyncio.run(scenario())


def test_death_in_mid_request_is_engine_lost(where: discovery.Place) -> None:
    async def scenario() -> str:
        client = await discovery.ensure_engine(where, command=COMMAND)
        with pytest.raises(Problem) as caught:
            await asyncio.wait_for(client.request("complete", completion_params("die")), WAIT_SECONDS)
        await client.close()
        return caught.value.reason

    assert asyncio.run(scenario()) == "engine_lost"


@sockets
def test_another_users_socket_is_refused(where: discovery.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(start_and_leave(where))

    def unknown(connection: object) -> int:
        raise OSError("unknown")

    for uid in (lambda connection: os.getuid() + 1, unknown):
        with monkeypatch.context() as patch:
            patch.setattr(transport, "peer_uid", uid)
            assert asyncio.run(discovery.find_engine(where)) is None, "the check fails closed"


@sockets
def test_a_path_too_long_for_a_socket_is_explained(tmp_path: Path) -> None:
    deep = discovery.Place(tmp_path / ("d" * 120), "engine")
    with pytest.raises(Problem, match="GREEN_CODE_RUNTIME_DIR"):
        asyncio.run(transport.listen(deep.address, lambda reader, writer: asyncio.sleep(0)))


@modes
def test_a_runtime_folder_of_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    monkeypatch.setenv("GREEN_CODE_RUNTIME_DIR", str(tmp_path / "link"))
    with pytest.raises(Problem, match="is a link"):
        discovery.place()
    (tmp_path / "open").mkdir(mode=0o755)
    monkeypatch.setenv("GREEN_CODE_RUNTIME_DIR", str(tmp_path / "open"))
    assert stat.S_IMODE(discovery.place().folder.stat().st_mode) == 0o700


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_a_file_system_without_locks_is_not_taken_for_an_engine(
    where: discovery.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(Problem, match="GREEN_CODE_RUNTIME_DIR") as caught:
        discovery.Claim(where).take()
    assert caught.value.reason == "cache_unwritable"


def test_a_lock_is_exclusive_and_released(tmp_path: Path) -> None:
    one, two = ProcessLock(tmp_path / "lock"), ProcessLock(tmp_path / "lock")
    assert one.acquire({"pid": 1}) and not two.acquire({"pid": 2})
    assert read_note(tmp_path / "lock") == {"pid": 1}
    one.release()
    assert two.acquire({"pid": 2})
    two.release()
