"""The kernel's libraries through ctypes: which one this processor runs, and whether its ABI is the one that is known here.

GREEN_CODE_KERNEL forces a level ("avx512vnni", "avxvnni", "avx2", "dotprod", "portable") or torch ("off"), for tests and
measurements.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from green_code.kernels.build import CPU_LEVEL, LIBRARIES, TARGETS, library, this_target
from green_code.kernels.quantise import GROUP, NIBBLE_GROUP, QUANTISED_MAX, TILE, ZERO_POINT
from green_code.models.backend import CANDIDATES, LOGIT_RANGE, MAX_LOG_ODDS
from green_code.problems import Problem

LEVEL_VARIABLE = "GREEN_CODE_KERNEL"
ABI = 5  # abi.h
CHUNK = 64  # decoder.h
ROTARY_BLOCK = 16  # decoder.h
ACTIVATIONS = {"silu": 0, "gelu_tanh": 1, "gelu": 2, "relu": 3}  # decoder.h
VALUE_BLOCK, HEAD_GROUP, MAX_QUERIES = 32, 32, 8  # attention.h
UNIT_BLOCK, EXTRA_FEATURES = 64, 3  # exit_classifier.h
HEAD_ROWS = 32  # svd_head.h
CONSTANTS: dict[str, float] = {
    "GROUP": GROUP, "TILE": TILE, "ZERO_POINT": ZERO_POINT, "QUANTISED_MAX": QUANTISED_MAX, "CHUNK": CHUNK,
    "NIBBLE_GROUP": NIBBLE_GROUP, "VALUE_BLOCK": VALUE_BLOCK, "HEAD_GROUP": HEAD_GROUP, "MAX_QUERIES": MAX_QUERIES,
    "UNIT_BLOCK": UNIT_BLOCK, "EXTRA_FEATURES": EXTRA_FEATURES, "HEAD_ROWS": HEAD_ROWS, "CANDIDATES": CANDIDATES,
    "LOGIT_RANGE": LOGIT_RANGE, "MAX_LOG_ODDS": MAX_LOG_ODDS, "ROTARY_BLOCK": ROTARY_BLOCK,
    **{name.upper(): value for name, value in ACTIVATIONS.items()},
}  # fmt: skip
"""As the kernel has them, by its names."""

_Pointer, _Int, _Float = ctypes.c_void_p, ctypes.c_int32, ctypes.c_float


class CMatrix(ctypes.Structure):
    _fields_ = [("records", _Pointer), ("outputs", _Int), ("inputs", _Int), ("bits", _Int)]


class CNorm(ctypes.Structure):
    _fields_ = [("gain", _Pointer), ("bias", _Pointer)]


class CLayer(ctypes.Structure):
    _fields_ = [
        *((name, CMatrix) for name in ("qkv", "attention_out", "mlp_in", "mlp_out")),
        *((name, _Pointer) for name in ("qkv_bias", "attention_out_bias", "mlp_in_bias", "mlp_out_bias")),
        *((name, CNorm) for name in ("attention_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm")),
        *((name, _Pointer) for name in ("q_norm", "k_norm", "cosines", "sines")),
        ("window", _Int),
        ("kv_projection", CMatrix),
    ]


class CModel(ctypes.Structure):
    _fields_ = [
        ("layers", ctypes.POINTER(CLayer)),
        *((name, _Int) for name in ("layer_count", "tokens")),
        *((name, _Int) for name in ("width", "heads", "kv_heads", "head_width", "mlp_width")),
        *((name, _Int) for name in ("true_width", "true_head_width", "rotary_width", "activation", "gated")),
        *((name, _Float) for name in ("norm_eps", "attention_scale", "attention_softcap", "logit_softcap")),
        ("final_norm", CNorm),
    ]


class CExitClassifier(ctypes.Structure):
    _fields_ = [
        *((name, _Int) for name in ("hidden", "width", "exits")),
        *((name, _Pointer) for name in ("inner", "biases", "action")),
        ("action_bias", _Float),
        ("pending_unit", ctypes.c_double),
        ("log_odds_within", _Float),
    ]


class CSvdHead(ctypes.Structure):
    _fields_ = [("down", _Pointer), ("preview", CMatrix), ("rows", _Pointer), ("tokens", _Int)]


class CTopToken(ctypes.Structure):
    _fields_ = [("token", _Int), ("log_odds", _Float), ("margin", _Float)]


class CThreadPool(ctypes.Structure):
    """Threads change it at once."""

    _fields_ = [
        ("job", ctypes.c_uint64),
        *((name, _Pointer) for name in ("function", "task")),
        *((name, _Int) for name in ("parts", "helped", "open", "stalls", "workers")),
    ]


class CQuantisedRows(ctypes.Structure):
    _fields_ = [(name, _Pointer) for name in ("values", "scales", "sums")]


class _CInt8Group(ctypes.Structure):
    _fields_ = [("values", ctypes.c_int8 * HEAD_GROUP), ("scale", _Float), ("sum", _Int)]


class _CAttentionScratch(ctypes.Structure):
    _fields_ = [(name, _Pointer) for name in ("queries", "scores")]


class _CThreadScratch(ctypes.Structure):
    _fields_ = [("normed", _Pointer), ("inner", _Pointer), ("attention", _CAttentionScratch)]


class _CScratch(ctypes.Structure):
    _fields_ = [
        ("input", CQuantisedRows),
        *((name, _Pointer) for name in ("output", "lensed")),
        ("threads", ctypes.POINTER(_CThreadScratch)),
        ("outputs", ctypes.c_int64),
        *((name, _Int) for name in ("inputs", "positions", "workers")),
    ]


class _CEntry(ctypes.Structure):
    """abi.h's `abi_entry`."""

    _fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_double)]


STRUCTURES: dict[str, type[ctypes.Structure]] = {
    "matrix": CMatrix, "norm": CNorm, "layer": CLayer, "model": CModel, "quantised_rows": CQuantisedRows, "int8_group": _CInt8Group,
    "attention_scratch": _CAttentionScratch, "thread_scratch": _CThreadScratch, "scratch": _CScratch,
    "thread_pool": CThreadPool, "exit_classifier": CExitClassifier, "svd_head": CSvdHead, "top_token": CTopToken,
}  # fmt: skip
"""By the kernel's names."""


class Scratch:
    """Working memory for a model and up to `positions` positions, whole blocks.

    Args:
        matrices: all but the head's preview, and `preview`. workers: threads that may take part in a call.
    """

    def __init__(
        self, matrices: Iterable[CMatrix], preview: CMatrix, model: CModel, positions: int, workers: int
    ) -> None:
        matrices = list(matrices)
        inputs = max(matrix.inputs for matrix in (*matrices, preview))
        outputs = max(*(CHUNK * matrix.outputs for matrix in matrices), HEAD_ROWS * preview.outputs, preview.inputs)
        self._threads = (_CThreadScratch * workers)()
        self.structure = _CScratch(
            threads=self._threads, outputs=outputs, inputs=inputs, positions=positions, workers=workers
        )
        self.kept: list[tuple[ctypes.Structure, str, np.ndarray]] = []
        s, groups = self.structure, -(-inputs // GROUP)
        self.keep(s.input, "values", np.zeros((CHUNK, inputs), np.int8))
        self.keep(s.input, "scales", np.zeros((CHUNK, groups), np.float32))
        self.keep(s.input, "sums", np.zeros((CHUNK, groups * (GROUP // NIBBLE_GROUP)), np.int32))
        self.output = np.zeros(outputs, np.float32)
        self.keep(s, "output", self.output)
        self.keep(s, "lensed", np.zeros((HEAD_ROWS, model.width), np.float32))
        query_bytes = model.head_width // HEAD_GROUP * ctypes.sizeof(_CInt8Group)
        for thread in self._threads:
            self.keep(thread, "normed", np.zeros(model.width, np.float32))
            self.keep(thread, "inner", np.zeros(model.mlp_width, np.float32))
            self.keep(thread.attention, "queries", np.zeros((MAX_QUERIES, query_bytes), np.uint8))
            self.keep(thread.attention, "scores", np.zeros((MAX_QUERIES, positions), np.float32))

    def keep(self, structure: ctypes.Structure, name: str, array: np.ndarray) -> None:
        """Let `structure` point to `array`, which lives as long as this object."""
        self.kept.append((structure, name, array))
        setattr(structure, name, array.ctypes.data)


_Model, _Matrix, _Scratch = ctypes.POINTER(CModel), ctypes.POINTER(CMatrix), ctypes.POINTER(_CScratch)
_ThreadPool, _Classifier = ctypes.POINTER(CThreadPool), ctypes.POINTER(CExitClassifier)
_SPAN = (_Model, _Int, _Int, _Pointer, _Int, _Int, _Pointer, _Pointer, _Int, _Scratch)
_HEAD = (_Model, ctypes.POINTER(CSvdHead), _Matrix, _Pointer, _Pointer)
_FUNCTIONS = {
    "key_bytes": (_Int, (_Int,)),
    "value_bytes": (_Int, (_Int,)),
    "run_layers": (_Int, (*_SPAN, _ThreadPool)),
    "project_kv": (_Int, (*_SPAN, _Int)),
    "run_rows": (
        _Int,
        (*_SPAN[:4], *[ctypes.POINTER(_Int)] * 2, *[ctypes.POINTER(_Pointer)] * 2, _Int, _Scratch, _ThreadPool),
    ),
    "run_helper": (None, (_ThreadPool, _Int)),
    "embed": (_Int, (_Model, _Pointer, _Pointer, ctypes.POINTER(_Int), _Int, _Float, _Pointer)),
    "apply_lens": (_Int, (_Model, _Matrix, _Pointer, _Pointer, _Int, _Pointer, _Scratch)),
    "logits": (_Int, (*_HEAD[:2], _Pointer, _Int, _Pointer, _Scratch)),
    "top_tokens": (_Int, (*_HEAD, _Int, ctypes.POINTER(CTopToken), _Scratch, _ThreadPool)),
    "top_token_among": (_Int, (*_HEAD, _Pointer, _Int, _Scratch)),
    "exit_probability": (_Float, (_Classifier, _Int, _Pointer, _Int, _Float, _Float)),
}  # fmt: skip


class Kernel:
    """One level's library. Its functions are those of decoder.c, without `green_` in their names. They raise ValueError where an argument
    is out of bounds.

    Raises:
        Problem: its ABI is another one.
    """

    key_bytes: Callable[[int], int]
    value_bytes: Callable[[int], int]
    run_layers: Callable[..., int]
    project_kv: Callable[..., int]
    run_rows: Callable[..., int]
    run_helper: Callable[[CThreadPool, int], None]
    embed: Callable[..., int]
    apply_lens: Callable[..., int]
    logits: Callable[..., int]
    top_tokens: Callable[..., int]
    top_token_among: Callable[..., int]
    exit_probability: Callable[..., float]

    def __init__(self, path: Path, level: str) -> None:
        self.level, self.digest = level, hashlib.sha256(path.read_bytes()).hexdigest()
        loaded = ctypes.CDLL(str(path))
        if (difference := _abi_difference(loaded)) is not None:
            raise Problem(
                "internal_error",
                f"the kernel {path.name} was built from other sources ({difference}); run `python -m green_code.kernels.build`, or reinstall.",
            )
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, f"green_{name}", None)
            if function is None:
                raise Problem(
                    "internal_error",
                    f"the kernel {path.name} lacks {name}; run `python -m green_code.kernels.build`, or reinstall.",
                )
            function.restype, function.argtypes = result, arguments
            if result is not None:
                function.errcheck = _check_bounds
            setattr(self, name, function)


def _check_bounds(result: Any, function: ctypes._NamedFuncPointer, arguments: tuple[Any, ...]) -> Any:
    """Of every call: a negative result is a refusal (checks.h)."""
    if result < 0:
        raise ValueError(f"the kernel's {function.__name__} refuses its arguments, which are out of bounds")
    return result


def _abi_difference(loaded: ctypes.CDLL) -> str | None:
    """The first difference between a library's ABI and this module's; None: they are the same."""
    if not hasattr(loaded, "green_abi"):
        return "it has no ABI number"
    if (number := loaded.green_abi()) != ABI:
        return f"its ABI is {number}, not {ABI}"
    layout: dict[str, float] = {}
    for name, structure in STRUCTURES.items():
        layout[f"sizeof({name})"] = ctypes.sizeof(structure)
        for field, *_ in structure._fields_:
            layout[f"offsetof({name}, {field})"] = getattr(structure, field).offset
    for own, function in ((layout, loaded.green_layout), (CONSTANTS, loaded.green_constants)):
        found = _table(function)
        for name in {**found, **own}:
            if found.get(name) != own.get(name):
                return f"{name} is {found.get(name)}, not {own.get(name)}"
    return None


def _table(function: ctypes._NamedFuncPointer) -> dict[str, float]:
    function.restype = ctypes.POINTER(_CEntry)
    entries, table = function(), dict[str, float]()
    while (entry := entries[len(table)]).name is not None:
        table[entry.name.decode()] = entry.value
    return table


def levels(libraries: Path = LIBRARIES) -> Mapping[str, Path]:
    """Level → library of those that are built and that this processor runs, best first."""
    try:
        target = this_target()
        folder = libraries / target
        able = ctypes.CDLL(str(folder / library(CPU_LEVEL, target))).green_levels()
    except (KeyError, OSError):
        return {}
    known = list(TARGETS[target][1])
    paths = {level: folder / library(level, target) for level in known}
    return {
        level: path
        for bit, (level, path) in zip(reversed(range(len(known))), paths.items(), strict=True)
        if able & (1 << bit) and path.is_file()
    }


def open_kernel(level: str | None = None) -> Kernel | None:
    """The kernel of the best level, or of the forced one; None where this machine has none.

    Raises:
        Problem: the forced level is not built, or this processor does not run it; or the library's ABI is another one.
    """
    found = levels()
    forced = level or os.environ.get(LEVEL_VARIABLE) or None
    if forced == "off":
        return None
    if forced is not None and forced not in found:
        raise Problem(
            "bad_request",
            f"kernel level {forced!r} is not available here (available: {', '.join([*found, 'off'])}); correct {LEVEL_VARIABLE}.",
        )
    return next((_load(path, name) for name, path in found.items() if forced in (None, name)), None)


@lru_cache
def _load(path: Path, level: str) -> Kernel:
    return Kernel(path, level)
