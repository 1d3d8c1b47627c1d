"""Checkpoints are opened in a process of its own, so that their readers and their memory never stay in the engine, and that a drive which
is away, or a library that waits for it, never holds the engine's interpreter.

The child gets its task as a line of JSON, and reports in lines of JSON. Its standard input stays open while its parent lives; when
it ends, the child ends, too, and removes what it had written. A child that is killed leaves nothing, either: its parent removes it.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from itertools import dropwhile
from pathlib import Path
from typing import Any, Final

import msgspec

from green_code.kernels.weight_format import weight_formats
from green_code.models.backend import WeightFormat
from green_code.models.bundle import Bundle, load_bundle
from green_code.models.catalog import Found, find_model
from green_code.models.config import ModelConfig
from green_code.models.conversion import Progress, convert, remove_abandoned
from green_code.problems import Problem, too_large

_COMMAND: Final = (sys.executable, "-m", "green_code.engine.conversion")
_FIRST_TO_BE_KILLED: Final = "1000"  # when memory runs out: this process, and nobody's editor
_SECONDS_TO_END: Final = 20.0


def convert_apart(
    found: Found, bundle: Bundle | None, formats: Iterable[WeightFormat], folder: Path, progress: Progress
) -> None:
    """`models.conversion.convert` in a child process. If `progress` raises, the child ends.

    Raises:
        Problem: that of the conversion; or the child was killed.
    """
    preferred = next(iter(formats))
    task = {
        "model": found.name,
        "key": found.key,
        "bundle": str(bundle.path) if bundle else None,
        "preferred": preferred.name,
        "device": preferred.device,
        "folder": str(folder),
    }
    try:
        _in_child(found.name, task, progress)
    finally:
        remove_abandoned(folder)


def config_apart(found: Found) -> ModelConfig:
    """The configuration of a checkpoint.

    Raises:
        Problem: that of opening it; or the child was killed.
    """
    reported = _in_child(found.name, {"model": found.name, "key": found.key}, lambda *_: None)
    return msgspec.convert(reported["config"], ModelConfig)


def _in_child(model: str, task: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """What the child reports at last."""
    child = subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    last: dict[str, Any] = {}
    try:
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            child.stdin.write(json.dumps(task).encode() + b"\n")
            child.stdin.flush()
        for line in child.stdout:
            last = json.loads(line)
            if "share" in last:
                progress(last["sentence"], last["share"])
    finally:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        try:
            child.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()
    if "message" in last:
        raise Problem(last["reason"], last["message"])
    if child.returncode in (-9, 137):
        raise too_large(model, "the system ended its conversion")
    if "done" not in last:
        raise Problem(
            "internal_error",
            f"The conversion of {model} ended unexpectedly (code {child.returncode}). Try again; the log says more.",
        )
    return last


def main() -> int:
    """The child: its task is a line on standard input. Returns the exit code."""
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print

    def report(**line: Any) -> None:
        reports.write(json.dumps(line) + "\n")
        reports.flush()

    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a parent may have switched off
    with contextlib.suppress(OSError):  # another system
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_BE_KILLED, "ascii")
    task, over = json.loads(sys.stdin.buffer.readline()), threading.Event()
    threading.Thread(target=_end_with_parent, args=(over,), daemon=True).start()
    try:
        last = _done(task, lambda sentence, share: report(sentence=sentence, share=share))
    except Problem as problem:
        last = {"reason": problem.reason, "message": str(problem)}
    except MemoryError:
        lacking = too_large(task["model"])
        last = {"reason": lacking.reason, "message": str(lacking)}
    except KeyboardInterrupt:
        return 1
    over.set()
    report(**last)
    return 0


def _done(task: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    found = find_model(task["model"])
    if found.key != task["key"]:
        raise Problem("model_damaged", f"{found.name} was changed while it was opened; try again.")
    if "folder" not in task:
        return {"done": True, "config": found.open().config.to_json()}
    bundle = load_bundle(Path(task["bundle"])) if task["bundle"] else None
    formats = dropwhile(lambda one: one.name != task["preferred"], weight_formats(task["device"]))
    convert(found, bundle, formats, Path(task["folder"]), progress)
    return {"done": True}


def _end_with_parent(over: threading.Event) -> None:
    """Interrupts the conversion when the parent has ended, or does not want it any more."""
    while os.read(sys.stdin.fileno(), 1):  # not a reader of Python's, which would be locked when Python ends
        pass
    if over.is_set():
        return
    main_thread = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main_thread is not None:
        signal.pthread_kill(main_thread, signal.SIGINT)  # wakes it up
    else:
        _thread.interrupt_main()
    time.sleep(_SECONDS_TO_END)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
