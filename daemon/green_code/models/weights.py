"""Converted weights: the base checkpoint plus a bundle's delta and adapters, in the format in which this machine computes.

They are converted once (conversion.py), cached under a key of all that they depend on, and opened at every later start. A new
conversion removes those of the same model that were not opened for a month.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from green_code.folders import CACHE_VARIABLE, cache_dir
from green_code.models.adapters import Adapters
from green_code.models.backend import Backend, WeightFormat
from green_code.models.block_hashes import check_hashes
from green_code.models.bundle import Bundle
from green_code.models.catalog import Found
from green_code.models.conversion import DESCRIPTION, Progress, convert, read_description
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem, in_one_line, too_large

log = logging.getLogger(__name__)

_CONVERSION = "14"  # increased whenever a conversion would give other files
_KEPT_SECONDS = 30 * 24 * 3600  # since a conversion was last opened


Converter = Callable[[Found, Bundle | None, Iterable[WeightFormat], Path, Progress], None]


@dataclass(frozen=True)
class Model:
    """A decoder and its vocabulary. `key` names the converted weights in the cache."""

    decoder: Backend
    vocabulary: Vocabulary
    key: str


def open_model(
    found: Found,
    bundle: Bundle | None,
    weight_formats: Iterable[WeightFormat],
    progress: Progress = lambda *_: None,
    converter: Converter = convert,
    make_room: Callable[[int], None] = lambda _: None,
) -> Model:
    """Load converted weights; convert the model if they are not cached, or what is cached is damaged.

    Args:
        weight_formats: best first, iterated as far as needed. The first is part of the cache's key, and a conversion takes it.
        progress: gets a sentence and the share that is done. converter: `convert`, or one that calls it elsewhere.
        make_room: gets the bytes of this machine's memory that the weights take, before they are opened; may raise Problem.

    Raises:
        Problem: the checkpoint or the bundle is damaged, they do not fit each other, the cache cannot be written, or memory or disk
            are too small.
    """
    key, folder = _cached(found, bundle, next(iter(weight_formats)))
    for attempt in ("first", "second"):
        if not (folder / DESCRIPTION).is_file():
            progress(f"converting {found.name}", 0.0)
            converter(found, bundle, weight_formats, folder, progress)
            _remove_unused(Path(found.name).name, folder.parent)
        with contextlib.suppress(OSError):  # a read-only cache
            os.utime(folder / DESCRIPTION)
        try:
            return Model(*_open(folder, weight_formats, make_room), key)
        except (Problem, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of a library in Rust is no Exception
            if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
                raise too_large(found.name) from error
            shutil.rmtree(folder, ignore_errors=True)
            if attempt == "second":
                raise Problem(
                    "model_damaged",
                    f"{found.name} was converted again and still cannot be opened ({in_one_line(error)}): see whether the disk of "
                    f"{folder.parent} is sound, or set {CACHE_VARIABLE} to a folder on another one.",
                ) from error
            log.warning(
                "the converted weights in %s are damaged (%s) and are converted again", folder, in_one_line(error)
            )
    raise AssertionError


def _open(
    folder: Path, weight_formats: Iterable[WeightFormat], make_room: Callable[[int], None]
) -> tuple[Backend, Vocabulary]:
    """Whatever it raises but `Problem`, the folder is damaged."""
    check_hashes(folder)
    described = read_description(folder)
    vocabulary = Vocabulary.open(folder / "tokenizer.json", described.bos, described.eos)
    if len(vocabulary) > described.config.vocabulary:
        raise ValueError(f"they have {described.config.vocabulary} tokens, their tokenizer has {len(vocabulary)}")
    weight_format = next((one for one in weight_formats if one.name == described.format), None)
    if weight_format is None:
        raise ValueError(f"their format {described.format!r} is unknown")
    make_room(weight_format.sizes(described.config, Adapters()).memory)
    return weight_format.open(described.config, folder), vocabulary


def is_converted(found: Found, bundle: Bundle | None, weight_formats: Iterable[WeightFormat]) -> bool:
    """Whether `open_model` would find converted weights."""
    return (_cached(found, bundle, next(iter(weight_formats)))[1] / DESCRIPTION).is_file()


def _cached(found: Found, bundle: Bundle | None, weight_format: WeightFormat) -> tuple[str, Path]:
    """Key and folder of the converted weights."""
    parts = (_CONVERSION, found.key, bundle.conversion_key if bundle else "", weight_format.name)
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return key, cache_dir() / f"{Path(found.name).name[:50]}-{key}"


def _remove_unused(model: str, folder: Path) -> None:
    """Remove conversions of a model, and unfinished ones, that were not opened for a month."""
    name, oldest = re.compile(re.escape(model) + r"-[0-9a-f]{16}(\..*)?"), time.time() - _KEPT_SECONDS
    for other in folder.iterdir():
        if not name.fullmatch(other.name):
            continue
        with contextlib.suppress(OSError):
            described = other / DESCRIPTION
            if (described if described.is_file() else other).stat().st_mtime < oldest:
                shutil.rmtree(other)
