"""Rollouts: every exit's token and state, recorded once, so that agents train by replay.

They are recorded in *episodes*: places in a document where someone types. An episode is cut into chunks as completions
are, at the end of a line or after CHUNK tokens, and each chunk is recorded twice: greedy (the model's own continuation at
full depth) and teacher-forced (the source's).

A folder has `states.bin` (float16, (P, X, C), memory-mapped), `tokens.npz` and `rollouts.json`, which is written last.
States are stored over their root mean square, as the agent's input; some of Gemma's exceed float16's range.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from green_code.problems import Problem

CHUNK = 16  # tokens of a chunk at most, about as the paper's completions of 15
NO_SOURCE = -1
"""The source's token where a greedy chunk has left the source."""
_META, _STATES, _COLUMNS = "rollouts.json", "states.bin", "tokens.npz"
_META_FIELDS = ("exits", "layers", "states", "weights")
_RECORD_AGAIN = "run `green-code train rollouts` again."


@dataclass(frozen=True)
class Rollouts:
    """P positions in N chunks, X exits; chunk n is rows starts[n] … starts[n + 1] − 1."""

    exits: tuple[int, ...]
    layers: int
    states: np.ndarray  # (P, X, C) float16, of unit root mean square
    exit_tokens: np.ndarray  # (P, X)
    log_odds: np.ndarray  # (P, X) float16, of that token, as in `TopToken`
    margins: np.ndarray  # (P, X) float16
    first_right: np.ndarray  # (P,): the first layer of any kind whose token is the last layer's
    final_tokens: np.ndarray  # (P,)
    source_tokens: np.ndarray  # (P,): the source's next token, or NO_SOURCE
    starts: np.ndarray  # (N + 1,)
    episodes: np.ndarray  # (N,): each chunk's, in the document's order
    greedy: np.ndarray  # (N,) bool; else teacher-forced
    languages: np.ndarray  # (P,): index into the corpus's languages
    weights: str = ""  # the bundle's `weights_key`

    def check_like(self, other: Rollouts) -> None:
        """Raises Problem where another part was recorded at other exits or with another bundle."""
        mine, theirs = ((r.exits, r.layers, r.states.shape[2], r.weights) for r in (self, other))
        if mine != theirs:
            raise Problem(
                "bad_request",
                f"rollouts were recorded at exits {self.exits} and at {other.exits}, or with different bundles; {_RECORD_AGAIN}",
            )

    @property
    def agrees(self) -> Any:
        """(P, X): the exit's token is the last layer's."""
        return self.exit_tokens == self.final_tokens[:, None]

    @property
    def right(self) -> Any:
        """(P, X): the exit's token is the last layer's, or the source's."""
        return self.agrees | (self.exit_tokens == self.source_tokens[:, None])

    @cached_property
    def errors(self) -> Any:
        """(P, X) float32: what leaving there does to the text. A difference from the last layer counts 1, as it changes
        everything after; 1 more if it loses the source's token, 1 less if it wins it.

        Where the source is unknown, a difference counts the mean loss of the known ones.
        """
        final = (self.final_tokens == self.source_tokens)[:, None]
        early = self.exit_tokens == self.source_tokens[:, None]
        lost = final.astype(np.float32) - early
        known = (self.source_tokens != NO_SOURCE)[:, None]
        differs = ~self.agrees
        mean = (lost * (known & differs)).sum(0) / np.maximum(1, (known & differs).sum(0))
        return (differs * (1 + np.where(known, lost, mean))).astype(np.float32)


_NAMES = [name for name in Rollouts.__dataclass_fields__ if name not in _META_FIELDS]


def write_rollouts(folder: Path, rollouts: Rollouts) -> None:
    """Write a folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rollouts.states.tofile(folder / _STATES)
    _finish(folder, rollouts)


def merge_rollouts(folder: Path, parts: Sequence[Path]) -> Rollouts:
    """Join folders of the same exits, and delete them."""
    opened = [open_rollouts(part) for part in parts]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _META).unlink(missing_ok=True)
    with (folder / _STATES).open("wb") as file:
        for part in parts:
            with (part / _STATES).open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 24)
    rows = [0, *accumulate(len(part.final_tokens) for part in opened)]
    episodes = [0, *accumulate(1 + int(part.episodes.max()) for part in opened)]
    columns: dict[str, Any] = {name: [getattr(part, name) for part in opened] for name in _NAMES}
    columns["starts"] = [part.starts[:-1] + row for part, row in zip(opened, rows, strict=False)]
    columns["starts"].append(np.array(rows[-1:]))
    columns["episodes"] = [part.episodes + first for part, first in zip(opened, episodes, strict=False)]
    columns = {name: np.concatenate(each) for name, each in columns.items()}
    _finish(folder, replace(opened[0], **columns))
    for part in parts:
        shutil.rmtree(part)
    return open_rollouts(folder)


def _finish(folder: Path, rollouts: Rollouts) -> None:
    columns: dict[str, Any] = {name: getattr(rollouts, name) for name in _NAMES}
    np.savez(folder / _COLUMNS, **columns)
    width = rollouts.states.shape[2]
    meta = {"exits": rollouts.exits, "layers": rollouts.layers, "width": width, "weights": rollouts.weights}
    (folder / _META).write_text(json.dumps(meta))


def open_rollouts(folder: Path, weights: str | None = None) -> Rollouts:
    """Memory-map a recorded folder. `weights`: the bundle's key; None: any.

    Raises Problem where it is missing, incomplete, or of another bundle.
    """
    try:
        meta = json.loads((folder / _META).read_text())
        with np.load(folder / _COLUMNS) as file:
            columns = {name: file[name] for name in _NAMES}
        shape = (len(columns["final_tokens"]), len(meta["exits"]), meta["width"])
        states = np.memmap(folder / _STATES, np.float16, "r", shape=shape)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise Problem(
            "bad_request", f"rollouts in {folder} are missing or incomplete ({error}); {_RECORD_AGAIN}"
        ) from error
    if weights is not None and meta["weights"] != weights:
        raise Problem("bad_request", f"rollouts in {folder} were recorded with another bundle; {_RECORD_AGAIN}")
    return Rollouts(tuple(meta["exits"]), meta["layers"], states, weights=meta["weights"], **columns)
