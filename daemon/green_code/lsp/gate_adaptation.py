"""How one user differs from a bundle's gate: a difference to each weight, learned online and kept on this machine only.

Logistic regression by stochastic gradient steps, with a pull towards 0. Each window sums its own steps and adds them to the
file under a lock, so that windows do not overwrite each other.
Must not know: what the inputs mean, or which place they are of.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

from green_code.files import replace_file
from green_code.folders import data_dir
from green_code.lock import ProcessLock
from green_code.reading import read_json

log = logging.getLogger(__name__)

SCHEMA: Final = 1
LEARNING_RATE: Final = 0.02
PULL: Final = 0.001
"""Part of a difference that each outcome takes away: half of it in 700 outcomes."""
BOUND: Final = 1.0
"""Largest difference to a weight."""
OUTCOMES_PER_SAVE: Final = 8

RESET_MESSAGE: Final = "Green Code's file about which suggestions you take was damaged; it is learned anew."


class _Stored(Struct, frozen=True):
    """The file."""

    schema: int
    differences: list[Annotated[float, Meta(ge=-BOUND, le=BOUND)]]


class Adaptation:
    """The differences to the weights of one gate.

    Args:
        size: number of weights.
        digest: identifies the gate's weights; each gate has a file of its own.
        warn: gets a sentence for the user if the file is damaged.
    """

    def __init__(self, size: int, digest: str, warn: Callable[[str], None]) -> None:
        self._path = data_dir() / f"gate-{digest}.json"
        self._warn = warn
        self._failed = False
        self._unsaved = 0
        self._pending = [0.0] * size
        self._stored = [0.0] * size
        self._stored = self._read()

    @property
    def differences(self) -> list[float]:
        """One per weight: what the file had when it was last read, and this window's steps since."""
        return [_bounded(stored + pending) for stored, pending in zip(self._stored, self._pending, strict=True)]

    def learn(self, inputs: Sequence[float], error: float) -> None:
        """A step of gradient descent.

        Args:
            inputs: one per weight.
            error: outcome (0 or 1) minus the probability that these weights and differences gave it.
        """
        for i, (value, difference) in enumerate(zip(inputs, self.differences, strict=True)):
            self._pending[i] += LEARNING_RATE * error * value - PULL * difference
        self._unsaved += 1
        if self._unsaved >= OUTCOMES_PER_SAVE:
            self.save()

    def save(self) -> None:
        """Add this window's steps to the file; they stay pending if another window writes, or nothing can be written."""
        if not self._unsaved:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self._path.parent) as locked:
                if not locked:
                    return
                # The file may have been reset or changed by other windows meanwhile.
                merged = [_bounded(a + b) for a, b in zip(self._read(), self._pending, strict=True)]
                replace_file(self._path, json.dumps({"schema": SCHEMA, "differences": merged}))
        except OSError as error:
            if not self._failed:
                log.warning("the gate's adaptation cannot be saved: %s", error)
            self._failed = True
            return
        self._stored, self._pending, self._unsaved = merged, [0.0] * len(merged), 0

    def _read(self) -> list[float]:
        size = len(self._pending)
        try:
            found = read_json(self._path, _Stored)
            if found.schema != SCHEMA or len(found.differences) != size:
                raise ValueError("its values are not those of this gate")
        except FileNotFoundError:
            return [0.0] * size
        except OSError as error:
            log.warning("the gate's adaptation cannot be read: %s", error)
            return list(self._stored)
        except ValueError as error:
            log.warning("the gate's adaptation is damaged and reset: %s", error)
            with contextlib.suppress(OSError):
                self._path.unlink()  # so that it is said once
            self._warn(RESET_MESSAGE)
            return [0.0] * size
        return found.differences


def reset_adaptations() -> bool:
    """Delete what was learned about this user, for every gate; returns whether there was a file.

    Other windows follow when they next save.

    Raises:
        OSError: a file cannot be deleted.
    """
    files = list(data_dir().glob("gate-*.json"))
    for path in files:
        path.unlink(missing_ok=True)
    return bool(files)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether this window may write."""
    lock = ProcessLock(folder / "gate.lock")
    try:
        yield lock.acquire({"pid": os.getpid()})
    finally:
        lock.release()


def _bounded(value: float) -> float:
    return max(-BOUND, min(BOUND, value)) if math.isfinite(value) else 0.0
