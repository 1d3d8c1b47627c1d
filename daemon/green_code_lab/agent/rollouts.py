"""Rollouts: what every exit would have said, recorded once, so that agents train by replay.

They are recorded in *stretches*: places in a document where someone types. A stretch is cut into chunks as completions
are cut, at the end of a line or after CHUNK tokens, and each chunk is recorded twice: as the source goes on
(teacher-forced), and as the model goes on by itself from the same place at full depth (greedy).

A folder holds `states.bin` (float16, (P, X, C), memory-mapped), `tokens.npz` and `rollouts.json`, which comes last.
States are kept over their root mean square: that is how the agent sees them, and some of Gemma's exceed float16's range.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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


@dataclass(frozen=True)
class Rollouts:
    """P positions in N chunks, X exits; chunk n is rows starts[n] … starts[n + 1] − 1.

    `episodes` has the stretch of each chunk, in the document's order; `greedy` says how it was continued; `languages`
    has of each position an index into the corpus's languages.
    """

    exits: tuple[int, ...]
    layers: int
    states: np.ndarray  # (P, X, C) float16, of unit root mean square
    exit_tokens: np.ndarray  # (P, X)
    log_odds: np.ndarray  # (P, X) float16: the head's of that token, as `serving.TopToken` has them
    margins: np.ndarray  # (P, X) float16
    first_right: np.ndarray  # (P,): the first layer of any kind whose token is the last layer's
    final_tokens: np.ndarray  # (P,)
    source_tokens: np.ndarray  # (P,): what follows in the source, or NO_SOURCE
    starts: np.ndarray  # (N + 1,)
    episodes: np.ndarray  # (N,)
    greedy: np.ndarray  # (N,) bool
    languages: np.ndarray  # (P,)
    weights: str = ""  # the bundle's `weights_key`: rollouts are of one bundle

    def check_like(self, other: Rollouts) -> None:
        """Raises Problem where another part was recorded otherwise."""
        mine, theirs = ((r.exits, r.layers, r.states.shape[2], r.weights) for r in (self, other))
        if mine != theirs:
            raise Problem(
                "bad_request",
                f"rollouts were recorded at exits {self.exits} and at {other.exits}, or with different bundles; run `green-code train rollouts` again.",
            )

    @property
    def agrees(self) -> Any:
        """(P, X): the exit's token is the last layer's."""
        return self.exit_tokens == self.final_tokens[:, None]

    @property
    def right(self) -> Any:
        """(P, X): the exit's token is the last layer's, or the one that follows in the source."""
        return self.agrees | (self.exit_tokens == self.source_tokens[:, None])

    @cached_property
    def errors(self) -> Any:
        """(P, X) float32: what leaving there does to the text. A difference from the last layer counts 1, since what follows is
        another text then; and a token of the source that is lost by it counts 1 more, one that is won 1 less.

        Where the source is not known, a difference is taken to lose what those lose of which it is known, in the mean.
        """
        final = (self.final_tokens == self.source_tokens)[:, None]
        early = self.exit_tokens == self.source_tokens[:, None]
        lost = final.astype(np.float32) - early
        known = (self.source_tokens != NO_SOURCE)[:, None]
        differs = ~self.agrees
        mean = (lost * (known & differs)).sum(0) / np.maximum(1, (known & differs).sum(0))
        return (differs * (1 + np.where(known, lost, mean))).astype(np.float32)


def write_rollouts(folder: Path, rollouts: Rollouts) -> None:
    """Write a folder anew; one that was cut off has no rollouts.json."""
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
    rows = np.cumsum([0, *(len(part.final_tokens) for part in opened)])
    episodes = np.cumsum([0, *(1 + part.episodes.max() for part in opened)])
    joined = {
        name: np.concatenate([getattr(part, name) for part in opened])
        for name in _columns()
        if name not in ("starts", "episodes")
    }
    _finish(
        folder,
        Rollouts(
            opened[0].exits,
            opened[0].layers,
            opened[0].states,
            starts=np.concatenate(
                [*(part.starts[:-1] + row for part, row in zip(opened, rows, strict=False)), rows[-1:]]
            ),
            episodes=np.concatenate(
                [part.episodes + first for part, first in zip(opened, episodes, strict=False)]
            ),
            weights=opened[0].weights,
            **joined,
        ),
    )
    for part in parts:
        shutil.rmtree(part)
    return open_rollouts(folder)


def _columns() -> list[str]:
    names = list(Rollouts.__dataclass_fields__)
    return [name for name in names if name not in _META_FIELDS]


def _finish(folder: Path, rollouts: Rollouts) -> None:
    columns: dict[str, Any] = {name: getattr(rollouts, name) for name in _columns()}
    np.savez(folder / _COLUMNS, **columns)
    meta = {
        "exits": rollouts.exits,
        "layers": rollouts.layers,
        "width": rollouts.states.shape[2],
        "weights": rollouts.weights,
    }
    (folder / _META).write_text(json.dumps(meta))


def open_rollouts(folder: Path, weights: str | None = None) -> Rollouts:
    """Memory-map a recorded folder.

    Args:
        weights: of the bundle that they must be of; None: any.
    Raises:
        Problem: it is missing, was cut off while being recorded, or is of another bundle.
    """
    try:
        meta = json.loads((folder / _META).read_text())
        with np.load(folder / _COLUMNS) as file:
            columns = {name: file[name] for name in _columns()}
        shape = (len(columns["final_tokens"]), len(meta["exits"]), meta["width"])
        states = np.memmap(folder / _STATES, np.float16, "r", shape=shape)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise Problem(
            "bad_request",
            f"rollouts in {folder} are missing or incomplete ({error}); run `green-code train rollouts` again.",
        ) from error
    if weights is not None and meta["weights"] != weights:
        raise Problem(
            "bad_request",
            f"rollouts in {folder} were recorded with another bundle than is there now; run `green-code train rollouts` again.",
        )
    return Rollouts(
        tuple(meta["exits"]),
        meta["layers"],
        states,
        weights=meta["weights"],
        **columns,
    )
