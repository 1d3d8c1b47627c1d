"""An engine in a process of its own: `Worker` is the benchmark's side of the pipe, `serve` the engine's.

This module and the main one must import little, because the memory of the process is a figure of the engine.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

import psutil

from green_code.energy.meters import Window, pick_meter
from green_code.problems import Problem
from green_code_lab.benchmark.peers import Peer, Prompt, Spec

_CORES = os.sched_getaffinity(0) if sys.platform == "linux" else frozenset[int]()

Answer = dict[str, Any]


class Worker:
    """An engine's process, which loads the engine at once. An answer may take `limit_seconds`."""

    def __init__(self, spec: Spec, limit_seconds: float = 300.0) -> None:
        self._limit_seconds = limit_seconds
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, spec), daemon=True)
        self._process.start()
        other.close()

    def answer(self) -> Answer:
        """The next answer; the first is {"version"}.

        Raises:
            Problem: the engine failed, its process has ended, or time is up.
        """
        try:
            if not self._connection.poll(self._limit_seconds):
                self._process.kill()
                raise Problem("internal_error", f"no answer in {self._limit_seconds:g} s")
            answer: Answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            status = f"its process ended with status {self._process.exitcode}"
            raise Problem("internal_error", status) from error
        if "error" in answer:
            raise Problem("internal_error", answer["error"])
        return answer

    def complete(self, prompt: Prompt, count: int, cold: bool, threads: int) -> Answer:
        """{"tokens", "seconds", "cpu_seconds", "joules", "bytes" resident afterwards}; `cold`: with an empty KV cache."""
        with contextlib.suppress(OSError):  # the process has ended: `answer` says so
            self._connection.send((prompt, count, cold, threads))
        return self.answer()

    def close(self) -> None:
        """End the process, which ends by itself when the pipe is closed."""
        self._connection.close()
        self._process.join(10.0)
        self._process.kill()
        self._process.join()


def serve(connection: Connection, spec: Spec) -> None:
    """Load the engine and answer requests; a failure is the last answer."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # all engines can compute on the CPU
    for stream in (1, 2):  # what the engine prints goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    try:
        meter = pick_meter(None)
        module = importlib.import_module(f"green_code_lab.benchmark.peers.{spec.kind}")
        peer: Peer = module.Engine(**spec.options)
        connection.send({"version": peer.version()})
        while True:
            prompt, count, cold, threads = connection.recv()
            pin(threads)
            peer.set_threads(threads)
            if cold:
                peer.clear_cache()
            with Window(meter) as window:
                tokens = peer.complete(prompt, count)
            found, resident = window.reading, psutil.Process().memory_info().rss
            assert found is not None  # the window has ended
            connection.send({"tokens": list(tokens), "bytes": resident, **asdict(found)})
    except EOFError:
        return
    except Exception as error:  # the engines are others' programs: anything may come
        connection.send({"error": f"{type(error).__name__}: {error}"})


def pin(threads: int | None) -> None:
    """Keep all threads of this process on so many cores, so that no engine uses more; None: on all."""
    if sys.platform == "linux":
        for thread in psutil.Process().threads():
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.sched_setaffinity(thread.id, sorted(_CORES)[:threads])
