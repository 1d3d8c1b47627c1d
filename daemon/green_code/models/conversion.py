"""Conversion: base weights plus a bundle's delta, streamed into the format in which this machine computes.

A weight is read, changed and written before the next one is read, so that memory holds hardly more than the largest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import psutil
from safetensors import SafetensorError
from tokenizers import Tokenizer

from green_code.files import sync, sync_folder
from green_code.folders import CACHE_VARIABLE
from green_code.models.adapters import Adapters, check_adapters, read_adapters
from green_code.models.backend import Report, WeightFormat
from green_code.models.block_hashes import write_hashes
from green_code.models.bundle import DELTA, MANIFEST, VOCABULARY, Bundle
from green_code.models.catalog import Found
from green_code.models.config import ModelConfig
from green_code.models.delta import Delta
from green_code.models.places import check_disk, is_full, size_text
from green_code.models.room import check_memory, room_for
from green_code.models.shapes import EMBEDDING, HEAD
from green_code.models.sources import Source
from green_code.models.vocabulary import compact
from green_code.problems import Problem
from green_code.reading import read_json

DESCRIPTION = "model.json"
"""A `Description`. Written last: a folder without it is no conversion. Its time of modification is when the conversion was last opened."""
Progress = Callable[[str, float | None], None]
# At which share of a conversion's time each of its parts ends.
_VERIFIED, _OPENED = 0.15, 0.25


@dataclass(frozen=True)
class Description:
    """Of converted weights: the configuration, the tokens before and behind a text, and the name of their format."""

    config: ModelConfig
    bos: int | None
    eos: tuple[int, ...]
    format: str

    def __post_init__(self) -> None:
        tokens = (*self.eos, *(() if self.bos is None else (self.bos,)))
        if not all(0 <= token < self.config.vocabulary for token in tokens):
            raise ValueError(f"bos {self.bos} and eos {self.eos} are not of {self.config.vocabulary} tokens")


def read_description(folder: Path) -> Description:
    """
    Raises:
        OSError, ValueError: it is missing or damaged.
    """
    try:
        return read_json(folder / DESCRIPTION, Description)
    except Problem as problem:  # of the configuration, which only says how to mend a checkpoint
        raise ValueError(str(problem)) from problem


def adapted_weights(found: Found, bundle: Bundle | None) -> tuple[ModelConfig, dict[str, np.ndarray]]:
    """All base weights in float32 with the bundle's pruned vocabulary and delta, not cached.

    Raises:
        Problem: the checkpoint is damaged, or the bundle was trained for another one.
    """
    source = found.open()
    return adapted_config(source, bundle), dict(adapted_tensors(source, bundle))


def adapted_config(source: Source, bundle: Bundle | None) -> ModelConfig:
    """The configuration with the bundle's pruned vocabulary.

    Raises:
        Problem: the bundle was trained for another checkpoint.
    """
    if bundle is None:
        return source.config
    if (expected := bundle.manifest["base"]["sha256"]) != source.fingerprint():
        what = f"it was trained for another checkpoint ({MANIFEST} has its sha256 {expected[:8]}…)"
        raise bundle.refusal(what, "use the base model that its manifest names")
    if not (ids := bundle.vocabulary):
        return source.config
    if (greatest := max(ids)) >= source.config.vocabulary:
        raise bundle.refusal(f"{VOCABULARY} has token {greatest}, the base model has {source.config.vocabulary} tokens")
    return replace(source.config, vocabulary=len(ids))


def _tokenizer(source: Source, bundle: Bundle | None) -> tuple[Tokenizer, int | None, list[int]]:
    """See `Source.vocabulary`. Raises Problem; where the bundle prunes the vocabulary, it is the bundle's fault."""
    if bundle is None or bundle.vocabulary is None:
        return source.vocabulary(None)
    try:
        return source.vocabulary(bundle.vocabulary)
    except Problem as problem:
        raise bundle.refusal(f"{VOCABULARY} does not fit the base model ({problem})") from problem


def adapted_tensors(source: Source, bundle: Bundle | None) -> Iterator[tuple[str, np.ndarray]]:
    """(name, float32 array) of each weight in turn, with the bundle's delta.

    Raises:
        Problem: the checkpoint is damaged, or the delta is of another model.
    """
    path = bundle.part(DELTA) if bundle else None
    delta = Delta(path) if path else None
    left = set(delta.names) if delta else set()
    for name, tensor in source.tensors(bundle.vocabulary if bundle else None):
        with np.errstate(all="ignore"):  # the sum takes a fifth of the time
            finite = np.isfinite(tensor.sum()) or np.isfinite(tensor).all()
        if not finite:
            raise Problem("model_damaged", f"the checkpoint's {name} holds NaN or infinity; download it again.")
        if delta and name in left:
            left.remove(name)
            if delta.shape(name) != tensor.shape:
                raise _misfit(bundle, name)
            delta.add_to(name, tensor)
        yield name, tensor
    if left:
        raise _misfit(bundle, min(left))


def _misfit(bundle: Bundle | None, name: str) -> Problem:
    assert bundle is not None
    fix = "fetch the bundle again, or adapt that model with `green-code adapt`"
    return bundle.refusal(f"{DELTA} has {name[:60]}, which does not fit the base model", fix)


def convert(
    found: Found, bundle: Bundle | None, weight_formats: Iterable[WeightFormat], folder: Path, progress: Progress
) -> None:
    """Write a converted model to `folder`, whole or not at all, in the first of the formats.

    Raises:
        Problem: the checkpoint or the bundle is damaged, they do not fit each other, memory or disk are too small, or the folder
            cannot be written.
    """

    def reporter(begin: float, end: float) -> Report:
        return lambda share: progress(f"converting {found.name}", begin + (end - begin) * share)

    reporter(0.0, _VERIFIED)(0.0)
    found.verify()
    reporter(0.0, _VERIFIED)(1.0)
    source = found.open()
    reporter(_VERIFIED, _OPENED)(0.5)
    config = adapted_config(source, bundle)
    tokenizer, bos, eos = _tokenizer(source, bundle)
    # Some checkpoints pad the embedding with rows that are no tokens.
    tokens = min(config.vocabulary, 1 + max(tokenizer.get_vocab(with_added_tokens=True).values()))
    config = replace(config, vocabulary=tokens)
    adapters = read_adapters(bundle)
    check_adapters(bundle, adapters, config)
    weight_format = next(iter(weight_formats))
    room = room_for(config, weight_format.sizes(config, adapters))
    check_memory(found.name, room, lambda other: weight_format.sizes(other, Adapters()))
    weights = (
        (name, weight[:tokens] if name in (EMBEDDING, HEAD) else weight)
        for name, weight in adapted_tensors(source, bundle)
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
        check_disk(folder.parent, room.disk_bytes, found.name)
        part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.{os.getpid()}.", dir=folder.parent))
        try:
            weight_format.save(config, weights, adapters, part, reporter(_OPENED, 1.0))
            (part / "tokenizer.json").write_text(compact(tokenizer), "utf-8")
            description = Description(config, bos, tuple(eos), weight_format.name)
            (part / DESCRIPTION).write_bytes(msgspec.json.encode(description))
            if bundle and not bundle.as_read():
                raise Problem("bundle_invalid", f"bundle {bundle.name} was changed while it was read; try again.")
            write_hashes(part)
            sync_folder(part)
            with contextlib.suppress(OSError):  # there is a folder
                part.rename(folder)
            if not (folder / DESCRIPTION).is_file():  # no other process was faster: an interrupted removal left it
                shutil.rmtree(folder, ignore_errors=True)
                part.rename(folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        what = "the disk is full" if isinstance(error, OSError) and is_full(error) else str(error)
        raise Problem(
            "cache_unwritable",
            f"converted weights cannot be written to {folder.parent} ({what}); free {size_text(room.disk_bytes)} there, or set {CACHE_VARIABLE} to a folder with room.",
        ) from error
    reporter(_OPENED, 1.0)(1.0)


def remove_abandoned(folder: Path) -> None:
    """Remove what conversions left that were killed before they had written `folder`."""
    for part in folder.parent.glob(f"{folder.name}.*"):
        process = part.name.removeprefix(f"{folder.name}.").partition(".")[0]
        if not process.isdigit() or not psutil.pid_exists(int(process)):
            shutil.rmtree(part, ignore_errors=True)
