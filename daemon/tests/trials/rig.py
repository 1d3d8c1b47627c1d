"""What the trials share: folders of their own, a peer of the engine and an editor that may send anything, and percentiles."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

import green_code
from green_code import __version__
from green_code.link import framing, messages
from green_code.link.discovery import place
from green_code.lock import read_note
from green_code.models.rows import TINY
from tests.engine.fake_runtime import completion_params
from tests.trials.hostile_values import encoded

DAEMON: Final = Path(green_code.__file__).resolve().parents[1]
DEADLINE_SECONDS: Final = 30.0
"""What takes longer hangs; long, because other programs may run beside the trials."""


class Hang(Exception):
    """No answer within the deadline."""


class Ended(Exception):
    """The process or the connection has ended."""


@contextlib.contextmanager
def workplace(folder: Path, model: str = TINY, **variables: str) -> Iterator[Path]:
    """Folders of this trial for all processes that are started within, none of which is left over.

    The cache is the user's where the model is not the tiny one: it was converted once.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("run", "data"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        patch.setenv("GREEN_CODE_RUNTIME_DIR", str(folder / "run"))
        patch.setenv("GREEN_CODE_DATA_DIR", str(folder / "data"))
        if model == TINY:
            patch.setenv("GREEN_CODE_CACHE_DIR", str(folder / "cache"))
        patch.setenv("PYTHONPATH", str(DAEMON))
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # pip compiles what users run
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            yield folder
        finally:
            kill(engine_pid())


def engine_pid() -> int | None:
    """The engine that holds the lock of this place; None if none lives."""
    note = read_note(place().lock_path)
    pid = None if note is None else int(note["pid"])
    return pid if pid is not None and psutil.pid_exists(pid) and _is_engine(pid) else None


def _is_engine(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "engine" in process.cmdline()
    return False


def kill(pid: int | None) -> None:
    """End a process by SIGKILL and wait until it is gone."""
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def until(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> None:
    """
    Raises:
        Hang: the condition did not become true.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(psutil.Error):
            if condition():
                return
        if time.monotonic() > deadline:
            raise Hang(f"waited {seconds:g} s in vain")
        time.sleep(0.01)


class Engine:
    """An engine process of this place, which a test starts itself."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "green_code", "engine"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: self.process.poll() is not None or _listens())
        self.pid = engine_pid()
        if self.process.poll() is not None:
            raise Ended(f"the engine ended with status {self.process.returncode}")

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        kill(self.pid)
        self.process.kill()
        self.process.wait()


def _listens() -> bool:
    with contextlib.suppress(OSError, Ended):
        with Peer() as peer:
            peer.hello()
        return True
    return False


class Inbox:
    """What a process or a connection sends, read by a thread of its own."""

    def __init__(self, messages: Iterator[dict[str, Any]]) -> None:
        self._received: queue.Queue[dict[str, Any] | Exception] = queue.Queue()
        threading.Thread(target=self._read, args=(messages,), daemon=True).start()

    def answer(self, number: int, seconds: float) -> dict[str, Any]:
        """The answer to a request; other messages that come before it are dropped.

        Raises:
            Hang, Ended
        """
        deadline = time.monotonic() + seconds
        while (message := self._next(deadline)).get("id") != number:
            pass
        return message

    def drain(self, seconds: float) -> list[dict[str, Any]]:
        deadline, received = time.monotonic() + seconds, list[dict[str, Any]]()
        with contextlib.suppress(Hang, Ended):
            while True:
                received.append(self._next(deadline))
        return received

    def _next(self, deadline: float) -> dict[str, Any]:
        try:
            message = self._received.get(timeout=max(0.001, deadline - time.monotonic()))
        except queue.Empty as error:
            raise Hang("no answer") from error
        if isinstance(message, Exception):
            self._received.put(message)  # for whoever asks next
            raise message
        return message

    def _read(self, messages: Iterator[dict[str, Any]]) -> None:
        end: Exception = Ended("the other side has ended")
        try:
            for message in messages:
                self._received.put(message)
        except OSError as error:
            end = Ended(str(error))
        except Exception as error:  # what it sent makes no sense
            end = error
        self._received.put(end)


class Peer:
    """A connection to the engine that may send anything."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(place().address)
        self._socket.settimeout(DEADLINE_SECONDS)
        self._inbox = Inbox(self._read())
        self._ids = itertools.count(1)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
        self._socket.close()

    def hello(self, model: str | None = None) -> dict[str, Any]:
        return self.request(
            messages.HELLO,
            {"protocol": messages.PROTOCOL, "version": __version__, **({"model": model} if model else {})},
        )

    def send_bytes(self, data: bytes) -> None:
        """
        Raises:
            Ended: the engine has closed the connection.
        """
        try:
            self._socket.sendall(data)
        except TimeoutError as error:
            raise Hang("the engine does not read") from error
        except OSError as error:
            raise Ended(str(error)) from error

    def send(self, message: dict[str, Any]) -> None:
        self.send_bytes(framing.encode(message))

    def request(self, method: str, params: Any, seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """The whole answer, a result or an error.

        Raises:
            Hang, Ended
        """
        number = next(self._ids)
        self.send({"id": number, "method": method, "params": params})
        return self._inbox.answer(number, seconds)

    def drain(self, seconds: float) -> list[dict[str, Any]]:
        """What has come, and what comes within so many seconds."""
        return self._inbox.drain(seconds)

    def _read(self) -> Iterator[dict[str, Any]]:
        decoder = framing.Decoder()
        while True:
            with contextlib.suppress(TimeoutError):  # it has nothing to say
                if not (data := self._socket.recv(1 << 16)):
                    return
                yield from decoder.feed(data)

    def complete(self, prefix: str, model: str = TINY, **changes: Any) -> dict[str, Any]:
        """The answer to a right request."""
        right = completion_params(
            prefix, model=model, max_tokens=8, single_line=False, max_lines=4, decoding="exact", policy="full"
        )
        return self.request(messages.COMPLETE, {**right, **changes})


class Front:
    """A front process and the editor that drives it, which may send anything."""

    def __init__(self, model: str = TINY, **settings: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "green_code", "lsp", "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._ids, self._version = itertools.count(1), itertools.count(2)
        self.statuses: list[dict[str, Any]] = []
        self._inbox = Inbox(self._read())
        options = {"settings": {"model": model, "adaptiveGate": False, "suggestions": "eager", **settings}}
        self.request(
            "initialize", {"processId": None, "rootUri": None, "capabilities": {}, "initializationOptions": options}
        )
        self.notify("initialized", {})

    def __enter__(self) -> Front:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def send_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise Ended("the front has ended") from error

    def send(self, message: dict[str, Any]) -> None:
        body = encoded({"jsonrpc": "2.0", **message})
        self.send_bytes(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def notify(self, method: str, params: Any) -> None:
        self.send({"method": method, "params": params})

    def request(self, method: str, params: Any, seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """
        Raises:
            Hang, Ended
        """
        number = next(self._ids)
        self.send({"id": number, "method": method, "params": params})
        return self._inbox.answer(number, seconds)

    def open(self, text: str, uri: str = "file:///trial/a.py") -> None:
        self.notify(
            "textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": "python", "version": 1, "text": text}}
        )

    def change(self, text: str, uri: str = "file:///trial/a.py") -> None:
        """The whole text anew."""
        document = {"uri": uri, "version": next(self._version)}
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]})

    def complete(
        self, line: int, character: int, uri: str = "file:///trial/a.py", seconds: float = DEADLINE_SECONDS
    ) -> dict[str, Any]:
        """As asked by hand."""
        at = {
            "textDocument": {"uri": uri},
            "position": {"line": line, "character": character},
            "context": {"triggerKind": 1},
        }
        return self.request("textDocument/inlineCompletion", at, seconds)

    def reason(self) -> str:
        """Why the last completion ended as it did."""
        answer = self.request("greenCode/explain", {})
        return str(answer.get("result", {}).get("reason"))

    def _read(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        while header := self.process.stdout.readline():
            length = int(header.split(b":")[1])
            while self.process.stdout.readline().strip():
                pass
            message = json.loads(self.process.stdout.read(length))
            if message.get("method") == messages.LSP_STATUS:
                self.statuses.append(message["params"])
            elif "id" in message and "method" in message:  # a question to the editor
                self.send({"id": message["id"], "result": None})
            elif "id" in message:
                yield message


def percentiles(seconds: list[float]) -> str:
    """p50, p99 and the greatest."""
    if not seconds:
        return "—"
    return f"p50 {percentile(seconds, 0.5):.2f} s, p99 {percentile(seconds, 0.99):.2f} s, max {max(seconds):.2f} s"


def percentile(values: list[float], share: float) -> float:
    """The least value that more than this share of them do not exceed; the greatest where there are few."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
