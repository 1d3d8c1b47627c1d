"""Converted weights: the base checkpoint plus a bundle's delta and adapters, in the format in which this machine computes.

They are converted once, cached under a key of all that they depend on, and opened at every later start. A new conversion
removes those of the same model that were not opened for a month.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from green_code.folders import cache_dir
from green_code.models.adapters import Adapters, LinearAdapter, check_adapters, read_adapters
from green_code.models.backend import Backend, Report, WeightFormat, first_supporting
from green_code.models.bundle import DELTA, KV_PROJECTIONS, LENSES, Bundle
from green_code.models.catalog import Found
from green_code.models.decoder import Decoder
from green_code.models.delta import read_delta
from green_code.models.device import compute_device
from green_code.models.families import ModelConfig
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem, too_large

_CONVERSION = "10"  # increased whenever a conversion would give other files
_KEPT_SECONDS = 30 * 24 * 3600  # since a conversion was last opened
_DESCRIPTION = "model.json"  # written last; its time of modification is when the conversion was last opened
Progress = Callable[[str, float | None], None]
# At which share of a conversion's time each of its parts ends.
_VERIFIED, _OPENED, _ADDED = 0.15, 0.25, 0.6


@dataclass(frozen=True)
class Model:
    """A decoder and its vocabulary. `key` names the converted weights in the cache."""

    decoder: Backend
    vocabulary: Vocabulary
    key: str


@dataclass(frozen=True)
class TorchFormat:
    """Weights of the torch decoder, which runs every family on every device."""

    dtype: torch.dtype

    @property
    def name(self) -> str:
        return str(self.dtype)

    def unsupported_reason(self, config: ModelConfig) -> str | None:
        return None

    def save(
        self,
        config: ModelConfig,
        weights: Mapping[str, Tensor],
        adapters: Adapters,
        folder: Path,
        report: Report = lambda _: None,
    ) -> None:
        save_file({name: self._cast(w) for name, w in weights.items()}, folder / "weights.safetensors")
        for name, lenses in ((LENSES, adapters.lenses), (KV_PROJECTIONS, adapters.kv_projections)):
            parts = {
                f"{depth}:{kind}": part.contiguous()
                for depth, lens in lenses.items()
                for kind, part in (("matrix", lens.matrix), ("gain", lens.gain))
            }
            save_file(parts, folder / name)

    def open(self, config: ModelConfig, folder: Path) -> Decoder:
        lenses, projections = (_lenses(load_file(folder / name)) for name in (LENSES, KV_PROJECTIONS))
        adapters = Adapters(lenses=lenses, kv_projections=projections)
        return _decoder(config, load_file(folder / "weights.safetensors"), adapters)

    def build(self, config: ModelConfig, weights: Mapping[str, Tensor], adapters: Adapters) -> Decoder:
        cast = {name: self._cast(w) for name, w in weights.items()}
        return _decoder(config, cast, adapters)

    def _cast(self, weight: Tensor) -> Tensor:
        return weight.to(self.dtype).contiguous()


def _lenses(parts: Mapping[str, Tensor]) -> dict[int, LinearAdapter]:
    depths = {int(name.partition(":")[0]) for name in parts}
    return {depth: LinearAdapter(parts[f"{depth}:matrix"], parts[f"{depth}:gain"]) for depth in depths}


def _decoder(config: ModelConfig, weights: dict[str, Tensor], adapters: Adapters) -> Decoder:
    decoder = Decoder.load(config, weights)
    decoder.set_lenses(adapters.lenses)
    decoder.set_kv_projections(adapters.kv_projections)
    return decoder.to(compute_device())


def open_model(
    found: Found, bundle: Bundle | None, weight_formats: Sequence[WeightFormat], progress: Progress = lambda *_: None
) -> Model:
    """Load converted weights in the first of `weight_formats` that supports the model; convert the model if they are not cached.

    Args:
        progress: gets a sentence and the share that is done.

    Raises:
        Problem: the checkpoint or the bundle is damaged, they do not fit each other, the cache cannot be written, or the memory
            is too small.
    """
    weight_format = weight_formats[0]
    key, folder = _cached(found, bundle, weight_format)
    if not (folder / _DESCRIPTION).is_file():
        progress(f"converting {found.name}", 0.0)
        weight_format = first_supporting(weight_formats, found.open().config)
        key, folder = _cached(found, bundle, weight_format)
    if not (folder / _DESCRIPTION).is_file():
        _convert(found, bundle, weight_format, folder, progress)
        _remove_unused(Path(found.name).name, folder.parent)
    with contextlib.suppress(OSError):  # a read-only cache
        os.utime(folder / _DESCRIPTION)
    try:
        described = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
        config = ModelConfig.from_json(described["config"])
        vocabulary = Vocabulary.open(folder / "tokenizer.json", described["bos"], described["eos"])
        decoder = weight_format.open(config, folder)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        if _out_of_memory(error):
            raise too_large(found.name) from error
        shutil.rmtree(folder, ignore_errors=True)
        raise Problem(
            "model_damaged",
            f"the converted weights in {folder} are damaged ({error}) and were removed; try again to convert anew.",
        ) from error
    return Model(decoder, vocabulary, key)


def _out_of_memory(error: Exception) -> bool:
    """Torch raises a type of its own on a GPU, and a RuntimeError on a CPU."""
    return (
        isinstance(error, torch.OutOfMemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )


def _cached(found: Found, bundle: Bundle | None, weight_format: WeightFormat) -> tuple[str, Path]:
    """Key and folder of the converted weights."""
    parts = (_CONVERSION, found.key, bundle.conversion_key if bundle else "", weight_format.name)
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return key, cache_dir() / f"{Path(found.name).name}-{key}"


def _remove_unused(model: str, folder: Path) -> None:
    """Remove conversions of a model, and unfinished ones, that were not opened for a month."""
    name, oldest = re.compile(re.escape(model) + r"-[0-9a-f]{16}(\..*)?"), time.time() - _KEPT_SECONDS
    for other in folder.iterdir():
        if not name.fullmatch(other.name):
            continue
        with contextlib.suppress(OSError):
            described = other / _DESCRIPTION
            if (described if described.is_file() else other).stat().st_mtime < oldest:
                shutil.rmtree(other)


def adapted_weights(
    found: Found, bundle: Bundle | None, report: Report = lambda _: None
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Base weights in float32 with the bundle's pruned vocabulary and delta, not cached.

    Args:
        report: gets the share that is done.
    Raises:
        Problem: the checkpoint is damaged, or the bundle was trained for another one.
    """
    source = found.open()
    ids = bundle.vocabulary if bundle else None
    config = replace(source.config, vocabulary=len(ids)) if ids else source.config
    expected = bundle.manifest["base"]["sha256"] if bundle else None
    if expected and expected != source.fingerprint():
        raise Problem(
            "bundle_invalid",
            f"bundle {bundle.name if bundle else ''} was trained for another checkpoint (sha256 {expected[:8]}…); use the base model that its manifest names.",
        )
    path = bundle.part(DELTA) if bundle else None
    count = 13 * config.layers * (1 if path is None else 2)  # tensors to read and to add, about
    weights: dict[str, Tensor] = {}
    for name, tensor in source.tensors(ids):
        if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():  # the sum takes a fifth of the time
            raise Problem("model_damaged", f"the checkpoint's {name} holds NaN or infinity; download it again.")
        weights[name] = tensor
        report(min(1.0, len(weights) / count))
    if bundle and path:
        for done, (name, delta) in enumerate(read_delta(path), start=len(weights)):
            if name not in weights or weights[name].shape != delta.shape:
                raise Problem(
                    "bundle_invalid",
                    f"bundle {bundle.name}: {name} does not fit the base model; fetch the bundle again, or adapt that model with `green-code adapt`.",
                )
            weights[name] += delta
            report(min(1.0, done / count))
    return config, weights


def _convert(
    found: Found, bundle: Bundle | None, weight_format: WeightFormat, folder: Path, progress: Progress
) -> None:
    def reporter(begin: float, end: float) -> Report:
        return lambda share: progress(f"converting {found.name}", begin + (end - begin) * share)

    reporter(0.0, _VERIFIED)(0.0)
    found.verify()
    reporter(0.0, _VERIFIED)(1.0)
    source = found.open()
    reporter(_VERIFIED, _OPENED)(0.5)
    tokenizer, bos, eos = source.vocabulary(bundle.vocabulary if bundle else None)
    config, weights = adapted_weights(found, bundle, reporter(_OPENED, _ADDED))
    # Some checkpoints pad the embedding with rows that are no tokens.
    tokens = min(config.vocabulary, 1 + max(tokenizer.get_vocab(with_added_tokens=True).values()))
    config = replace(config, vocabulary=tokens)
    weights |= {name: weights[name][:tokens] for name in ("embed.weight", "head.weight") if name in weights}
    adapters = read_adapters(bundle)
    check_adapters(bundle, adapters, config)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            weight_format.save(config, weights, adapters, part, reporter(_ADDED, 1.0))
            tokenizer.save(str(part / "tokenizer.json"))
            described = {"config": config.to_json(), "bos": bos, "eos": eos}
            (part / _DESCRIPTION).write_text(json.dumps(described), "utf-8")
            if bundle and not bundle.as_read():
                raise Problem("bundle_invalid", f"bundle {bundle.name} was changed while it was read; try again.")
            if not (folder / _DESCRIPTION).is_file():
                shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted removal
                part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC
        what = "the disk is full" if full else str(error)
        raise Problem(
            "cache_unwritable",
            f"converted weights cannot be written to {folder.parent} ({what}); free 1 GB there, or set GREEN_CODE_CACHE_DIR to a folder with room.",
        ) from error
    reporter(_ADDED, 1.0)(1.0)
