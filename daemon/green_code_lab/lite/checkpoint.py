"""A run's checkpoint: `state.pt` in its folder, replaced atomically."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from green_code.problems import Problem
from green_code_lab.lite.recipe import Recipe

STATE = "state.pt"


def save(run: Path, recipe: Recipe, state: Mapping[str, Any]) -> None:
    """Raises Problem when the disk is full; the previous checkpoint stays."""
    part = run / f"{STATE}.part"
    try:
        torch.save({"recipe": asdict(recipe), **state}, part)
        part.replace(run / STATE)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError when the disk is full
        part.unlink(missing_ok=True)
        raise Problem(
            "cache_unwritable",
            f"the checkpoint could not be written to {run} ({error}); free {_bytes(state) / 1e9:.1f} GB and run the same command again: it resumes from the previous checkpoint.",
        ) from error


def load(run: Path) -> dict[str, Any] | None:
    """The last checkpoint, or None where there is none. Raises Problem where it cannot be read."""
    path = run / STATE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise Problem("bad_request", f"{path} cannot be read ({error}); delete it to start again.") from error
    return state


def check(run: Path, state: Mapping[str, Any], recipe: Recipe, subject: Mapping[str, str]) -> None:
    """Check that a checkpoint belongs to this recipe and this subject (base model and corpus).

    Raises Problem where it does not, or its weights are not finite.
    """
    requested = {**asdict(recipe), **subject}
    found = {**state["recipe"], **state["subject"]}
    if differs := sorted(name for name, value in requested.items() if found.get(name) != value):
        raise Problem(
            "bad_request",
            f"{run / STATE} belongs to another run ({', '.join(differs)} differ); use another --work folder, or delete it.",
        )
    if not all(weight.isfinite().all() for weight in state["weights"].values()):
        raise Problem(
            "internal_error",
            f"{run / STATE} contains NaN or infinity; restart in another --work folder with a lower --rate.",
        )


def recipe_of(stored: Mapping[str, Any]) -> Recipe:
    """From plain data, with JSON's lists for tuples. Raises TypeError where another version of this software stored it."""
    groups = tuple(tuple(group) for group in stored["exit_groups"])
    weights = tuple((int(depth), float(weight)) for depth, weight in stored["weights"])
    return Recipe(**{**stored, "exit_groups": groups, "weights": weights})


def check_room(run: Path, weights: Mapping[str, Tensor]) -> None:
    """Check that two checkpoints of these weights and their two moments fit, an existing one included.

    Raises Problem where they do not.
    """
    needed = (1 if (run / STATE).is_file() else 2) * 3 * _bytes(weights)
    free = shutil.disk_usage(run).free
    if free < needed:
        raise Problem(
            "cache_unwritable",
            f"{run} has {free / 1e9:.1f} GB left and a run's checkpoints need {needed / 1e9:.1f}; free some, or use another --work folder.",
        )


def _bytes(state: Any) -> int:
    """Bytes of all tensors in nested mappings."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    return sum(map(_bytes, state.values())) if isinstance(state, Mapping) else 0
