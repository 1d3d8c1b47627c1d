"""Who takes part, all with the bundle's weights but for llama.cpp's stock file; what cannot be set up says why."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from green_code.models.bundle import AGENT, Bundle, bundle_of, early_thresholds
from green_code.models.catalog import find_model
from green_code.models.device import compute_dtype
from green_code.models.families import ModelConfig
from green_code.models.sources import GgufSource
from green_code.models.weights import adapted_weights
from green_code.problems import Problem
from green_code.settings import default_settings
from green_code_lab.benchmark.checkpoints import kept, write_gguf, write_transformers
from green_code_lab.benchmark.peer import Missing, Spec
from green_code_lab.benchmark.peers.llama_package import fetch_library

BASELINE = "green-code-full"
_LOOK_UP_TOKENS = 10  # drafted at once: the default of transformers' PromptLookupCandidateGenerator


def green_code(model: str, bundle: Bundle | None) -> list[Spec]:
    """Our own modes: `exact` as the editor has it; `fast`, where there is an agent, at the editor's threshold and at its named
    stops."""
    usual = default_settings().threshold
    modes: list[tuple[str, str, str, float]] = [
        (BASELINE, "Green Code, full depth", "full", 1.0),
        ("green-code-exact", "Green Code, exact", "exact", usual),
    ]
    if bundle is not None and bundle.part(AGENT):
        modes += [
            (f"green-code-{threshold}", f"Green Code, fast, {called}", "fast", threshold)
            for called, threshold in early_thresholds(bundle.calibration, usual).items()
        ]
    return [
        Spec(name, label, "green_code", {"model": model, "decoding": decoding, "threshold": threshold})
        for name, label, decoding, threshold in modes
    ]


def engines(model: str, report: Callable[[str], None]) -> tuple[list[Spec | Missing], Spec | Missing]:
    """Everyone, in the order of the table; and the reference: the same weights at full depth in float32.

    Raises:
        Problem: the model or its bundle is missing or damaged.
    """
    found = find_model(model)
    bundle = bundle_of(model)
    ids = bundle.vocabulary if bundle else None

    @cache
    def weights() -> tuple[ModelConfig, dict[str, Tensor]]:
        report("converting the weights for the other engines")
        return adapted_weights(found, bundle)

    @cache
    def gguf_source() -> GgufSource:
        source = found.open()
        if not isinstance(source, GgufSource):
            raise Problem("bad_request", f"{model} is not read from a GGUF file")
        return source

    def transformers(dtype: str, assistance: dict[str, Any]) -> dict[str, Any]:
        path = kept(found, bundle, "transformers", lambda path: write_transformers(*weights(), path))
        return {"folder": str(path), "dtype": dtype, "assistance": assistance}

    def llama(file: Path, ids: tuple[int, ...] | None) -> dict[str, Any]:
        return {"library": str(fetch_library()), "file": str(file), "ids": ids}

    def write_pruned(path: Path) -> None:
        (config, own), pieces = weights(), gguf_source().pieces()
        write_gguf(config, pieces.subset(ids) if ids else pieces, own, path)

    dtype = str(compute_dtype()).removeprefix("torch.")
    exits = bundle.exits if bundle else ()
    exit = exits[(len(exits) - 1) // 2] if exits else 1  # late enough to be right, early enough to be cheap
    look_up, early_exit = {"prompt_lookup_num_tokens": _LOOK_UP_TOKENS}, {"assistant_early_exit": exit}
    hf = "hugging_face"
    others = [
        _prepare("transformers", "transformers, greedy", hf, lambda: transformers(dtype, {})),
        _prepare("transformers-look-up", "transformers, prompt look-up", hf, lambda: transformers(dtype, look_up)),
        _prepare("transformers-early-exit", f"transformers, assistant_early_exit={exit}", hf, lambda: transformers(dtype, early_exit)),
        _prepare("llama.cpp-stock", "llama.cpp, stock Q4_K_M, whole vocabulary", "llama_cpp", lambda: llama(gguf_source().path, ids)),
        _prepare("llama.cpp-pruned", "llama.cpp, Q8_0, the bundle's vocabulary", "llama_cpp", lambda: llama(kept(found, bundle, "q8_0.gguf", write_pruned), None)),
    ]  # fmt: skip
    reference = _prepare("reference", "transformers, float32", hf, lambda: transformers("float32", {}))
    return [*green_code(model, bundle), *others], reference


def _prepare(name: str, label: str, kind: str, options: Callable[[], dict[str, Any]]) -> Spec | Missing:
    try:
        return Spec(name, label, kind, options())
    except (Problem, ImportError, OSError) as problem:
        return Missing(name, label, str(problem))
