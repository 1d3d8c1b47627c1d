"""A run's checkpoint: `state.json` in its folder, which names a folder of tensors, and is replaced atomically.

Every process writes the shards that it has, and a run may go on with another number of processes
(torch.distributed.checkpoint). The folder before stays until the new one is named.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor, empty
from torch.distributed.checkpoint import filesystem, state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from green_code.files import replace_file
from green_code.problems import Problem, in_one_line
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.sharding import local

STATE = "state.json"
WEIGHTS = "weights"
_TENSORS = "tensors-{}"
Tensors = dict[str, Any]
"""Tensors in nested dictionaries."""
_FAILURES = (OSError, EOFError, KeyError, RuntimeError, ValueError, CheckpointException)


def save(run: Path, recipe: Recipe, about: Mapping[str, Any], tensors: Tensors) -> None:
    """All processes call this together. Raises Problem when the disk is full; the previous checkpoint stays.

    Args:
        about: plain data; `step` is in it.
    """
    name, first = _TENSORS.format(about["step"]), not dist.is_initialized() or dist.get_rank() == 0
    folder = run / name
    try:
        with _alone() as no_dist:
            state_dict_saver.save(tensors, checkpoint_id=folder, no_dist=no_dist)
        if first:
            replace_file(run / STATE, json.dumps({**about, "recipe": asdict(recipe), "tensors": name}))
    except _FAILURES as error:
        if first:
            shutil.rmtree(folder, ignore_errors=True)
        raise Problem(
            "cache_unwritable",
            f"the checkpoint could not be written to {run} ({in_one_line(error)}); free {_bytes(tensors) / 1e9:.1f} GB and run the same command again: it resumes from the previous checkpoint.",
        ) from error
    if first:
        _remove_tensors(run, name)


def load(run: Path) -> dict[str, Any] | None:
    """What the last checkpoint says of itself, or None where there is none. Raises Problem where it cannot be read."""
    path = run / STATE
    if not path.is_file():
        return None
    try:
        about: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if not (run / about["tensors"]).is_dir():
            raise ValueError(f"{about['tensors']} is missing")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(run, error) from error
    return about


def read(run: Path, about: Mapping[str, Any], tensors: Tensors) -> None:
    """Overwrite the values of tensors by those of the checkpoint; all processes call this together. Raises Problem where they are
    damaged, missing, or not finite."""
    try:
        with _alone() as no_dist:
            state_dict_loader.load(tensors, checkpoint_id=run / about["tensors"], no_dist=no_dist)
    except _FAILURES as error:
        raise _unreadable(run, error) from error
    if not all(local(weight).isfinite().all() for weight in tensors[WEIGHTS].values()):
        raise Problem(
            "internal_error",
            f"{run / STATE} contains NaN or infinity; restart in another --work folder with a lower --rate.",
        )


def weights(run: Path, about: Mapping[str, Any]) -> dict[str, Tensor]:
    """The trained weights, whole, in one process. Raises Problem as `read` does."""
    try:
        stored = filesystem.FileSystemReader(run / about["tensors"]).read_metadata().state_dict_metadata
    except _FAILURES as error:
        raise _unreadable(run, error) from error
    found = {
        name.removeprefix(f"{WEIGHTS}."): empty(tensor.size, dtype=tensor.properties.dtype)
        for name, tensor in stored.items()
        if name.startswith(f"{WEIGHTS}.") and isinstance(tensor, TensorStorageMetadata)
    }
    read(run, about, {WEIGHTS: found})
    return found


def check(run: Path, about: Mapping[str, Any], recipe: Recipe, subject: Mapping[str, str]) -> None:
    """Check that a checkpoint belongs to this recipe and this subject (base model and corpus).

    Raises Problem where it does not.
    """
    requested = {**json.loads(json.dumps(asdict(recipe))), **subject}
    found = {**about["recipe"], **about["subject"]}
    if differs := sorted(name for name, value in requested.items() if found.get(name) != value):
        raise Problem(
            "bad_request",
            f"{run / STATE} belongs to another run ({', '.join(differs)} differ); use another --work folder, or delete it.",
        )


def recipe_of(stored: Mapping[str, Any]) -> Recipe:
    """From plain data, with JSON's lists for tuples. Raises TypeError where another version of this software stored it."""
    groups = tuple(tuple(group) for group in stored["exit_groups"])
    weights = tuple((int(depth), float(weight)) for depth, weight in stored["weights"])
    return Recipe(**{**stored, "exit_groups": groups, "weights": weights})


def check_room(run: Path, size: int) -> None:
    """Check that two checkpoints of `size` bytes fit, an existing one included. Raises Problem where they do not."""
    needed = (1 if (run / STATE).is_file() else 2) * size
    free = shutil.disk_usage(run).free
    if free < needed:
        raise Problem(
            "cache_unwritable",
            f"{run} has {free / 1e9:.1f} GB left and a run's checkpoints need {needed / 1e9:.1f}; free some, or use another --work folder.",
        )


@contextlib.contextmanager
def _alone() -> Iterator[bool]:
    """Whether this is the only process; torch warns of it each time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield not dist.is_initialized()


def remove(run: Path) -> None:
    (run / STATE).unlink()
    _remove_tensors(run, "")


def _remove_tensors(run: Path, kept: str) -> None:
    for folder in run.glob(_TENSORS.format("*")):
        if folder.name != kept:
            shutil.rmtree(folder, ignore_errors=True)


def _unreadable(run: Path, error: BaseException) -> Problem:
    return Problem("bad_request", f"{run / STATE} cannot be read ({in_one_line(error)}); delete it to start again.")


def _bytes(state: Any) -> int:
    """Bytes of all tensors in nested mappings, of this process."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    return sum(map(_bytes, state.values())) if isinstance(state, Mapping) else 0
