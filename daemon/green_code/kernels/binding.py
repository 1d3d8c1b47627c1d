"""The kernel's libraries by ctypes: found, chosen by what the processor can, and called within checked bounds.

GREEN_CODE_KERNEL forces a level ("avx512vnni", "avxvnni", "avx2", "dotprod", "portable"), or torch's own path ("off"),
for tests and measurements.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from green_code.kernels.build import LIBRARIES, TARGETS, library, this_target
from green_code.kernels.quantise import GROUP, TILE
from green_code.models.backend import CANDIDATES
from green_code.problems import Problem

LEVEL_VARIABLE = "GREEN_CODE_KERNEL"
WORKERS = 2  # team.h
BLOCK, PIECE, QUERIES = 32, 32, 8  # attention.h
UNITS, BESIDE = 64, 3  # judge.h
LOOKS = 32  # screen.h

_Pointer = ctypes.c_void_p
_Int = ctypes.c_int32


class CMatrix(ctypes.Structure):
    """product.h's `matrix`."""

    _fields_ = [("records", _Pointer), ("outputs", _Int), ("inputs", _Int)]


class CLayer(ctypes.Structure):
    """decoder.c's `layer`."""

    _fields_ = [
        *((name, CMatrix) for name in ("qkv", "attention_out", "mlp_in", "mlp_out")),
        *(
            (name, _Pointer)
            for name in (
                "attention_norm", "q_norm", "k_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm",
                "cosines", "sines",
            )
        ),
        ("window", _Int),
        ("entry", CMatrix),
    ]  # fmt: skip


class CModel(ctypes.Structure):
    """decoder.c's `model`."""

    _fields_ = [
        ("layers", ctypes.POINTER(CLayer)),
        *((name, _Int) for name in ("width", "heads", "kv_heads", "head_width", "mlp_width", "gelu")),
        *((name, ctypes.c_float) for name in ("norm_eps", "attention_scale")),
    ]


class CJudge(ctypes.Structure):
    """judge.h's `classify`."""

    _fields_ = [
        ("hidden", _Int),
        *((name, _Pointer) for name in ("inner", "biases", "action")),
        ("action_bias", ctypes.c_float),
        ("debt_unit", ctypes.c_double),
        ("odds_within", ctypes.c_float),
    ]


class CScreen(ctypes.Structure):
    """screen.h's `svd_head`."""

    _fields_ = [("down", _Pointer), ("preview", CMatrix), ("rows", _Pointer), ("tokens", _Int)]


class CTop(ctypes.Structure):
    """screen.h's `top`."""

    _fields_ = [("token", _Int), ("log_odds", ctypes.c_float), ("margin", ctypes.c_float)]


class _CQuantised(ctypes.Structure):
    _fields_ = [(name, _Pointer) for name in ("values", "scales", "sums")]


class _CPiece(ctypes.Structure):
    """attention.h's `piece`."""

    _fields_ = [("values", ctypes.c_int8 * PIECE), ("scale", ctypes.c_float), ("sum", _Int)]


_PIECE_FLOATS = ctypes.sizeof(_CPiece) // ctypes.sizeof(ctypes.c_float)


class _CWorkspace(ctypes.Structure):
    """With attention.h's `attention_room` at its end."""

    _fields_ = [(name, _Pointer) for name in ("normed", "inner", "queries", "scores")]


class _CScratch(ctypes.Structure):
    _fields_ = [("row", _CQuantised), ("wide", _Pointer), ("seen", _Pointer), ("own", _CWorkspace * WORKERS)]


class CTeam(ctypes.Structure):
    """team.h's `team`; what is in it, both threads change at once."""

    _fields_ = [
        ("job", ctypes.c_uint64),
        *((name, _Pointer) for name in ("work", "task")),
        *((name, _Int) for name in ("parts", "helped", "open", "stalls")),
    ]


class Scratch:
    """Working memory for a model of these sizes and up to `positions` positions, whole blocks; `tokens` are those of the head, padded."""

    def __init__(
        self, kernel: Kernel, widest: int, tokens: int, inputs: int, model: CModel, positions: int
    ) -> None:
        rows = kernel.chunk
        groups = -(-inputs // GROUP)
        row: dict[str, np.ndarray] = {
            "values": np.zeros((rows, inputs), np.int8),
            "scales": np.zeros((rows, groups), np.float32),
            "sums": np.zeros((rows, groups), np.int32),
        }
        shared = {
            "wide": np.zeros(max(rows * widest, LOOKS * tokens), np.float32),
            "seen": np.zeros((LOOKS, model.width), np.float32),
        }
        own = {
            "normed": model.width,
            "inner": model.mlp_width,
            "queries": QUERIES * (model.head_width // PIECE) * _PIECE_FLOATS,
            "scores": QUERIES * positions,
        }
        self.structure = _CScratch()
        self.kept: list[tuple[ctypes.Structure, str, np.ndarray]] = []
        for structure, arrays in ((self.structure.row, row), (self.structure, shared)):
            for name, array in arrays.items():
                self.keep(structure, name, array)
        for workspace in self.structure.own:
            for name, size in own.items():
                self.keep(workspace, name, np.zeros(size, np.float32))

    def keep(self, structure: ctypes.Structure, name: str, array: np.ndarray) -> None:
        """Let `structure` point to `array`, which lives as long as this does."""
        self.kept.append((structure, name, array))
        setattr(structure, name, array.ctypes.data)


class Kernel:
    """One level's library."""

    def __init__(self, path: Path, level: str) -> None:
        self.level, self.digest = level, hashlib.sha256(path.read_bytes()).hexdigest()
        loaded = ctypes.CDLL(str(path))
        names = (
            "green_group",
            "green_tile",
            "green_block",
            "green_piece",
            "green_queries",
            "green_looks",
            "green_candidates",
            "green_sizes",
        )
        layout = tuple(getattr(loaded, name)() if hasattr(loaded, name) else None for name in names)
        sizes = sum(map(ctypes.sizeof, (CLayer, CModel, _CScratch, CTeam, CJudge, CScreen, CTop, _CPiece)))
        newest = hasattr(loaded, "green_best")
        if not newest or layout != (GROUP, TILE, BLOCK, PIECE, QUERIES, LOOKS, CANDIDATES, sizes):
            raise Problem(
                "internal_error",
                f"the kernel {path.name} was built from other sources; run `python -m green_code.kernels.build`, or reinstall.",
            )
        self.chunk: int = loaded.green_chunk()
        self.key_bytes: Any = loaded.green_key_bytes
        self.key_bytes.argtypes = [_Int]
        self.value_bytes: Any = loaded.green_value_bytes
        self.value_bytes.argtypes = [_Int]
        self.run_layers: Any = loaded.green_run_layers
        self.run_layers.restype = None
        self.run_layers.argtypes = [
            ctypes.POINTER(CModel), _Int, _Int, _Pointer, _Int, _Int, _Pointer, _Pointer, _Int,
            ctypes.POINTER(_CScratch), ctypes.POINTER(CTeam),
        ]  # fmt: skip
        self.project_kv: Any = loaded.green_enter
        self.project_kv.restype = None
        self.project_kv.argtypes = [*self.run_layers.argtypes[:-1], _Int]
        self.help: Any = loaded.green_help
        self.help.restype = None
        self.help.argtypes = [ctypes.POINTER(CTeam)]
        self.embed: Any = loaded.green_embed
        self.embed.restype = None
        self.embed.argtypes = [
            ctypes.POINTER(CModel), _Pointer, ctypes.POINTER(_Int), _Int, ctypes.c_float, _Pointer,
        ]  # fmt: skip
        self.classify: Any = loaded.green_judge
        self.classify.restype = ctypes.c_float
        self.classify.argtypes = [
            ctypes.POINTER(CModel), ctypes.POINTER(CJudge), _Int, _Pointer, _Int, ctypes.c_float, ctypes.c_float,
        ]  # fmt: skip
        self.apply_lens: Any = loaded.green_seen
        self.apply_lens.restype = None
        self.apply_lens.argtypes = [
            ctypes.POINTER(CModel), ctypes.POINTER(CMatrix), _Pointer, _Pointer, _Int, _Pointer,
            ctypes.POINTER(_CScratch),
        ]  # fmt: skip
        self.top_tokens: Any = loaded.green_look
        self.top_tokens.restype = None
        self.top_tokens.argtypes = [
            ctypes.POINTER(CModel), _Pointer, ctypes.POINTER(CScreen), ctypes.POINTER(CMatrix), _Pointer, _Pointer,
            _Int, ctypes.POINTER(CTop), ctypes.POINTER(_CScratch),
        ]  # fmt: skip
        self.top_token_among: Any = loaded.green_best
        self.top_token_among.restype = _Int
        self.top_token_among.argtypes = [
            ctypes.POINTER(CModel), _Pointer, ctypes.POINTER(CScreen), ctypes.POINTER(CMatrix), _Pointer, _Pointer,
            _Pointer, _Int, ctypes.POINTER(_CScratch),
        ]  # fmt: skip
        self.logits: Any = loaded.green_logits
        self.logits.restype = None
        self.logits.argtypes = [
            ctypes.POINTER(CModel), _Pointer, ctypes.POINTER(CMatrix), _Pointer, _Int, _Pointer,
            ctypes.POINTER(_CScratch),
        ]  # fmt: skip


def levels(libraries: Path = LIBRARIES) -> Mapping[str, Path]:
    """Level → library of those that are built and that this processor runs, best first."""
    try:
        target = this_target()
        folder = libraries / target
        teller = ctypes.CDLL(str(folder / library("level", target)))
    except (KeyError, OSError):
        return {}
    known = list(TARGETS[target][1])
    able = teller.green_levels()
    paths = {level: folder / library(level, target) for level in known}
    return {
        level: path
        for bit, (level, path) in zip(reversed(range(len(known))), paths.items(), strict=True)
        if able & (1 << bit) and path.is_file()
    }


def open_kernel(level: str | None = None) -> Kernel | None:
    """The best level's kernel, or the one that is forced; None where there is none for this machine.

    Raises:
        Problem: the forced level is not built, or this processor does not run it; or the library is of other sources.
    """
    found = levels()
    forced = level or os.environ.get(LEVEL_VARIABLE) or None
    if forced == "off":
        return None
    if forced is not None and forced not in found:
        raise Problem(
            "bad_request",
            f"kernel level {forced!r} is not to be had here (there are: {', '.join([*found, 'off'])}); correct {LEVEL_VARIABLE}.",
        )
    return next((_load(path, name) for name, path in found.items() if forced in (None, name)), None)


@lru_cache
def _load(path: Path, level: str) -> Kernel:
    return Kernel(path, level)
