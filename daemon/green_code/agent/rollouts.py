"""Rollouts: what every exit would have said, recorded once, so that agents train by replay.

Source text is read at full depth in one pass a sequence. Per position: the hidden state at each exit, the token that
each exit's head would give, the last layer's token, and the token that follows in the source. Teacher-forced: the
states are those of real documents, not of the model's own continuations.

A rollout folder holds `states.bin` (float16, (P, X, C), memory-mapped), `tokens.npz` and `rollouts.json`. States are
kept over their root mean square: that is how the agent sees them, and some of Gemma's exceed float16's range.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from green_code.adaptation.corpus import Corpus
from green_code.adaptation.objective import bfloat16_pays, hidden_at
from green_code.adaptation.windows import begin_with
from green_code.decoding.exit_network import unit_rms
from green_code.models.decoder import Decoder
from green_code.problems import Problem

SEQUENCE = 128  # positions recorded in a row
_CONTEXT = 128  # positions before them that are read but not recorded
WINDOW = _CONTEXT + SEQUENCE + 1
"""Tokens that a shard must have at least."""


@dataclass(frozen=True)
class Rollouts:
    """P positions in sequences of SEQUENCE, X exits. `languages` has an index into the corpus's languages a position."""

    exits: tuple[int, ...]
    layers: int
    states: np.ndarray  # (P, X, C) float16, of unit root mean square
    exit_tokens: np.ndarray  # (P, X)
    final_tokens: np.ndarray  # (P,)
    source_tokens: np.ndarray  # (P,)
    languages: np.ndarray  # (P,)

    @property
    def agrees(self) -> Any:
        """(P, X): the exit's token is the last layer's."""
        return self.exit_tokens == self.final_tokens[:, None]

    @property
    def right(self) -> Any:
        """(P, X): the exit's token is the last layer's, or the one that follows in the source."""
        return self.agrees | (self.exit_tokens == self.source_tokens[:, None])


@torch.no_grad()
def record(
    decoder: Decoder,
    corpus: Corpus,
    part: str,
    exits: Sequence[int],
    positions: int,
    seed: int,
    folder: Path,
    bos: int | None,
    report: Callable[[str], None],
) -> Rollouts:
    """Record about `positions` positions a language from the shards of `part` ("train" or "heldout")."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = max(1, positions // SEQUENCE)
    total, layers, depths = rows * SEQUENCE * len(corpus.languages), decoder.config.layers, tuple(exits)
    states = np.memmap(
        folder / "states.bin", np.float16, "w+", shape=(total, len(depths), decoder.config.width)
    )
    columns: dict[str, list[np.ndarray]] = {
        "exit_tokens": [],
        "final_tokens": [],
        "source_tokens": [],
        "languages": [],
    }
    generator, at = np.random.default_rng(seed), 0
    for index, language in enumerate(corpus.languages):
        shard = corpus.shards[language, part]
        starts = np.sort(generator.integers(0, len(shard) - WINDOW + 1, rows))
        for first in range(0, rows, 8):
            batch = np.stack([shard[s : s + WINDOW].astype(np.int64) for s in starts[first : first + 8]])
            tokens = begin_with(bos, torch.from_numpy(batch))
            with torch.autocast(decoder.device.type, torch.bfloat16, enabled=bfloat16_pays(decoder.device)):
                seen = hidden_at(decoder, tokens[:, :-1].to(decoder.device), (*depths, layers))
                kept = {d: s[:, _CONTEXT:].flatten(0, 1) for d, s in seen.items()}  # (8·SEQUENCE, C)
                top = {d: decoder.logits(s).argmax(-1).cpu().numpy() for d, s in kept.items()}
            size = len(top[layers])
            units = [unit_rms(kept[d]) for d in depths]
            states[at : at + size] = torch.stack(units, 1).half().cpu().numpy()
            columns["exit_tokens"].append(np.stack([top[d] for d in depths], 1))
            columns["final_tokens"].append(top[layers])
            columns["source_tokens"].append(batch[:, _CONTEXT + 1 :].reshape(-1))
            columns["languages"].append(np.full(size, index))
            at += size
        report(f"{part} {language}: {rows * SEQUENCE} positions")
    states.flush()
    np.savez(folder / "tokens.npz", **{k: np.concatenate(v).astype(np.int32) for k, v in columns.items()})  # type: ignore[arg-type]
    (folder / "rollouts.json").write_text(
        json.dumps(
            {"exits": depths, "layers": layers, "width": decoder.config.width, "seed": seed, "part": part}
        )
    )
    return open_rollouts(folder)


def open_rollouts(folder: Path) -> Rollouts:
    """Memory-map a recorded folder.

    Raises:
        Problem: it is missing or was cut off while being recorded.
    """
    try:
        meta = json.loads((folder / "rollouts.json").read_text())
        columns = dict(np.load(folder / "tokens.npz"))
        shape = (len(columns["final_tokens"]), len(meta["exits"]), meta["width"])
        states = np.memmap(folder / "states.bin", np.float16, "r", shape=shape)
    except (OSError, ValueError, KeyError) as error:
        raise Problem(
            "bad_request",
            f"rollouts in {folder} are missing or incomplete ({error}); run `green-code train rollouts` again.",
        ) from error
    return Rollouts(tuple(meta["exits"]), meta["layers"], states, **columns)
