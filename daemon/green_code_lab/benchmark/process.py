"""The benchmark's side of a peer's process (`worker.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from green_code.problems import Problem
from green_code_lab.benchmark.peer import Prompt, Spec

_END_SECONDS = 10.0
_LIMIT_SECONDS = 300.0


class Worker:
    """A peer in a process of its own, on the CPU. It loads while others do: `begin_open` asks for it, `answer` waits.

    An answer that takes longer than `limit_seconds` ends the process.
    """

    def __init__(self, spec: Spec, limit_seconds: float = _LIMIT_SECONDS) -> None:
        self.spec, self.limit_seconds = spec, limit_seconds
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "green_code_lab.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},  # every engine computes where all of them can
        )

    def begin_open(self) -> None:
        """Load the engine; the answer is what it says of itself."""
        self.begin(do="open", kind=self.spec.kind, options=dict(self.spec.options))

    def begin(self, **asked: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: `answer` says so
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """
        Raises:
            Problem: the engine failed, or its process has ended.
        """
        assert self._process.stdout is not None
        limit = threading.Timer(self.limit_seconds, self._process.kill)
        start = time.monotonic()
        limit.start()
        line = self._process.stdout.readline()
        limit.cancel()
        if not line:
            status = self._process.wait()
            if time.monotonic() - start >= self.limit_seconds:
                raise Problem("internal_error", f"no answer in {self.limit_seconds:g} s")
            raise Problem("internal_error", f"its process ended with status {status}: {self._last_error()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Problem("internal_error", answer["error"])
        return answer

    def ask(self, **asked: Any) -> dict[str, Any]:
        self.begin(**asked)
        return self.answer()

    def complete(self, prompt: Prompt, count: int, threads: int, cold: bool) -> dict[str, Any]:
        """See `worker.py`. `cold`: without what is cached."""
        what = {
            "ids": list(prompt.ids),
            "text": prompt.text,
            "count": count,
            "threads": threads,
            "cold": cold,
        }
        return self.ask(do="complete", **what)

    def close(self) -> None:
        """End the process; it goes by itself when it is asked nothing more."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1] if lines else "it said nothing"
