"""States of a backend over windows of a corpus, recorded once: lenses, exits and the SVD head are made from them.

A folder has `states.json` (what was recorded, and how many windows are done), `{depth}.f16` and `tokens.i32`. Windows are recorded in an
order in which languages take turns, and a run that was cut off goes on with the next window.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from green_code.decoding.kv_cache import KVCache
from green_code.files import replace_file
from green_code.models.backend import Backend
from green_code.models.config import ModelConfig
from green_code.problems import Problem
from green_code_lab.corpus import Corpus
from green_code_lab.heads.streamed import layers_done, run_streamed
from green_code_lab.lite.infilling import Infilling
from green_code_lab.lite.scores import WINDOW, begin_with

_FIRST = 16  # the first position of a window that is used: prompts have such lengths
_EACH = WINDOW - _FIRST
_META = "states.json"
_SAVED_SECONDS = 20.0
_ROWS = 8_192  # at once in float32


@dataclass(frozen=True)
class States:
    """N positions.

    Attributes:
        at: by depth, (N, C) float16 over their root mean square. tokens: (N,) the window's next tokens. languages: (N,) places in the
            corpus's languages.
    """

    at: Mapping[int, np.ndarray]
    tokens: np.ndarray
    languages: np.ndarray


@dataclass(frozen=True)
class Windows:
    """Where windows are cut from a corpus, and how: bos first and, where the model's prompts have text behind the cursor, every second
    one in that form."""

    corpus: Corpus
    bos: int | None
    infilling: Infilling | None

    def at(self, language: str, part: str, start: int, number: int, place: float) -> Tensor:
        """(WINDOW + 1,) token ids. `place` (0 … 1): of the cursor in a window of an odd `number`."""
        tokens = self.corpus.shards[language, part][start : start + WINDOW + 1].astype(np.int64)
        if self.infilling is not None and number % 2:
            tokens = self.infilling.lay_out(tokens, place)
        return begin_with(self.bos, torch.from_numpy(tokens)[None])[0]

    def draw(self, number: int, generator: np.random.Generator) -> Tensor:
        """(WINDOW + 1,) token ids of a place drawn in the training shard whose turn it is."""
        turn, which = divmod(number, len(self.corpus.languages))
        language = self.corpus.languages[which]
        last = len(self.corpus.shards[language, "train"]) - WINDOW - 1
        return self.at(language, "train", int(generator.integers(0, last + 1)), turn, float(generator.random()))

    def spread(self, part: str, positions: int) -> list[tuple[int, int]]:
        """(language, start) of windows that lie evenly in the shards, languages in turn: about so many positions in all."""
        shards = [self.corpus.shards[language, part] for language in self.corpus.languages]
        starts = [
            np.linspace(0, len(shard) - WINDOW - 1, max(1, min(positions // len(shards), len(shard)) // _EACH)).astype(
                int
            )
            for shard in shards
        ]
        turns = range(max(map(len, starts)))
        return [(i, int(own[turn])) for turn in turns for i, own in enumerate(starts) if turn < len(own)]


Weights = Iterator[tuple[str, np.ndarray]]
"""In the order of `models.shapes.weight_shapes`."""


def record_states(
    open_decoder: Callable[[], Backend | Weights],
    config: ModelConfig,
    windows: Windows,
    part: str,
    depths: Sequence[int],
    positions: int,
    folder: Path,
    subject: Mapping[str, Any],
    report: Callable[[str], None],
) -> States:
    """Record about `positions` positions, or go on with, or open, what `folder` has of the same `subject`.

    Args:
        open_decoder: called where something is left to record; gives a decoder, or the weights of one that memory has no room for. report: gets a line now and then.
    Raises:
        Problem: there is no room.
    """
    places = windows.spread(part, positions)
    about = {**subject, "part": part, "windows": len(places), "infilling": windows.infilling is not None}
    done, recorded = _done(folder, about, depths)
    if done == 0:
        recorded = sorted(depths)
        _check_room(folder, 2 * len(places) * _EACH * len(depths) * config.width)
    if done < len(places):
        opened = open_decoder()
        if isinstance(opened, Iterator):
            _record_streamed(opened, config, windows, part, places, recorded, folder, about, report)
        else:
            _record(opened, windows, part, places, recorded, folder, about, done, report)
    shape = len(places) * _EACH, config.width
    return States(
        {depth: np.memmap(folder / f"{depth}.f16", np.float16, "r", shape=shape) for depth in sorted(depths)},
        np.fromfile(folder / "tokens.i32", np.int32),
        np.repeat(np.array([language for language, _ in places]), _EACH),
    )


@torch.inference_mode()
def _record(
    decoder: Backend,
    windows: Windows,
    part: str,
    places: Sequence[tuple[int, int]],
    depths: Sequence[int],
    folder: Path,
    about: Mapping[str, Any],
    done: int,
    report: Callable[[str], None],
) -> None:
    config = decoder.config
    began = saved = time.monotonic()
    first = done
    window_bytes = {"tokens.i32": 4 * _EACH, **{f"{depth}.f16": 2 * _EACH * config.width for depth in depths}}
    with _Files(folder, window_bytes) as files:
        for name, size in window_bytes.items():
            files[name].seek(done * size)
        for number, place in enumerate(places[done:], done):
            tokens = _window(windows, part, place, number)
            cache = KVCache(decoder)
            cache.append(tokens[:-1].tolist())
            for depth in depths:
                cache.advance(WINDOW - 1, depth)
                states = unit(torch.from_numpy(cache.states(_FIRST, WINDOW)), config.norm_eps)
                files[f"{depth}.f16"].write(states.half().numpy().tobytes())
            files["tokens.i32"].write(tokens[_FIRST + 1 :].numpy().astype(np.int32).tobytes())
            now, last = time.monotonic(), number + 1 == len(places)
            if now - saved > _SAVED_SECONDS or last:
                files.flush()
                _write(folder, about, depths, number + 1)
                speed = (number + 1 - first) / (now - began)
                report(
                    f"{part}: states of {(number + 1) * _EACH:,} of {len(places) * _EACH:,} positions, {speed * WINDOW:.0f} tokens/s, {(len(places) - number - 1) / speed / 60:.0f} min left"
                )
                saved = now


def _record_streamed(
    weights: Weights,
    config: ModelConfig,
    windows: Windows,
    part: str,
    places: Sequence[tuple[int, int]],
    depths: Sequence[int],
    folder: Path,
    about: Mapping[str, Any],
    report: Callable[[str], None],
) -> None:
    tokens = np.stack([_window(windows, part, place, number).numpy() for number, place in enumerate(places)])
    size = 2 * _EACH * config.width
    with _Files(folder, ["tokens.i32", *(f"{depth}.f16" for depth in depths)]) as files:
        files["tokens.i32"].write(tokens[:, _FIRST + 1 :].astype(np.int32).tobytes())

        def take(depth: int, first: int, states: Tensor) -> None:
            if depth in depths:
                file = files[f"{depth}.f16"]
                file.seek(first * size)
                file.write(unit(states[:, _FIRST:], config.norm_eps).half().cpu().numpy().tobytes())
                file.flush()

        run_streamed(weights, config, tokens[:, :-1], folder, _streamed(about, depths), take, report)
    _write(folder, about, depths, len(places))


def _streamed(about: Mapping[str, Any], depths: Sequence[int]) -> dict[str, Any]:
    return {**about, "depths": sorted(depths)}


def _window(windows: Windows, part: str, place: tuple[int, int], number: int) -> Tensor:
    languages = windows.corpus.languages
    return windows.at(languages[place[0]], part, place[1], number // len(languages), number * 0.618 % 1)


class _Files(dict[str, IO[bytes]]):
    """Files of a folder, open for writing anywhere. Raises Problem on leaving where writing failed."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        super().__init__()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).touch()
            self[name] = (folder / name).open("r+b")

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            for file in self.values():
                file.close()
        except OSError as failed:
            error = error or failed
        if isinstance(error, OSError):
            raise Problem(
                "cache_unwritable",
                f"states cannot be written to {self._folder} ({error.strerror}); free some space and run the same command again: it goes on from there.",
            ) from error

    def flush(self) -> None:
        for file in self.values():
            file.flush()


def _done(folder: Path, about: Mapping[str, Any], depths: Sequence[int]) -> tuple[int, list[int]]:
    """How many windows of this are recorded, and at which depths; a folder of something else is removed."""
    try:
        found = json.loads((folder / _META).read_text("utf-8"))
    except (OSError, ValueError):
        found = {}
    if found.get("about") == about and set(depths) <= set(found["depths"]):
        return found["done"], found["depths"]
    if layers_done(folder, _streamed(about, depths)) < 0:
        shutil.rmtree(folder, ignore_errors=True)
    return 0, []


def _write(folder: Path, about: Mapping[str, Any], depths: Sequence[int], done: int) -> None:
    replace_file(folder / _META, json.dumps({"about": about, "depths": list(depths), "done": done}))


def _check_room(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < needed:
        raise Problem(
            "cache_unwritable",
            f"{folder} has {free / 1e9:.1f} GB left and states need {needed / 1e9:.1f}; free some, give fewer --positions, or use another --work folder.",
        )


def unit(x: Tensor, eps: float) -> Tensor:
    """States over their root mean square, float32."""
    return F.rms_norm(x.float(), x.shape[-1:], eps=eps)


def parts(*columns: np.ndarray) -> Iterator[tuple[Tensor, ...]]:
    """A few thousand rows of each at a time, float32."""
    for at in range(0, len(columns[0]), _ROWS):
        yield tuple(torch.from_numpy(column[at : at + _ROWS].astype(np.float32)) for column in columns)
