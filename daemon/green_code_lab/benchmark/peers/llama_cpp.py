"""llama.cpp as a library, which is its server without the trip over HTTP: it takes and gives token ids here.

The cache is reused as the server does with `cache_prompt`: what follows the longest common beginning is removed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from green_code.sequences import common
from green_code_lab.benchmark.peer import Prompt
from green_code_lab.benchmark.peers.llama_library import RELEASE, open_library

_POSITIONS = 2048
_ALL_ON_THE_CPU = 0


class LlamaCpp:
    """A GGUF file in llama.cpp.

    Args:
        ids: where the file has the whole vocabulary, the id there of each of the bundle's tokens; None: they are the same.
    """

    def __init__(self, library: str, file: str, ids: Sequence[int] | None) -> None:
        self._llama = open_library(Path(library))
        params = self._llama.llama_model_default_params()
        params.n_gpu_layers = _ALL_ON_THE_CPU
        model = self._llama.llama_model_load_from_file(file.encode(), params)
        if not model:
            raise OSError(f"llama.cpp cannot load {Path(file).name}")
        context = self._llama.llama_context_default_params()
        context.n_ctx = _POSITIONS
        context.n_outputs_max = (
            1  # logits of one position at a time, so that it need not keep room for a batch's
        )
        self._context = self._llama.llama_init_from_model(model, context)
        if not self._context:
            raise OSError("llama.cpp cannot make a context")
        self._memory = self._llama.llama_get_memory(self._context)
        self._width = self._llama.llama_vocab_n_tokens(self._llama.llama_model_get_vocab(model))
        self._outer = None if ids is None else np.asarray(ids)
        self._inner = None if ids is None else {outer: inner for inner, outer in enumerate(ids)}
        self._features = self._llama.llama_print_system_info().decode()
        self._cached: list[int] = []

    def describe(self) -> str:
        wanted = ("AVX512_VNNI", "AMX_INT8", "AVX512", "AVX2", "NEON")
        present = [name for name in wanted if f"{name} = 1" in self._features]
        return f"llama.cpp {RELEASE}, {', '.join(present) or 'no vector instructions'}"

    def use_threads(self, count: int) -> None:
        self._llama.llama_set_n_threads(self._context, count, count)

    def forget(self) -> None:
        self._remove_from(0)

    def complete(self, prompt: Prompt, count: int) -> list[int]:
        ids = list(prompt.ids) if self._outer is None else self._outer[list(prompt.ids)].tolist()
        self._remove_from(common(self._cached, ids[:-1]))  # the last position gives the first token
        pending = ids[len(self._cached) :]
        written: list[int] = []
        while len(written) < count:
            written.append(self._decode(pending))
            pending = written[-1:]
        return written if self._inner is None else [self._inner.get(token, -1) for token in written]

    def _decode(self, ids: list[int]) -> int:
        """The most likely token after `ids`, which are put behind what is cached."""
        array = (ctypes.c_int32 * len(ids))(*ids)
        batch = self._llama.llama_batch_get_one(ctypes.addressof(array), len(ids))
        if status := self._llama.llama_decode(self._context, batch):
            raise OSError(f"llama.cpp gives up with status {status}")
        self._cached += ids
        logits = np.ctypeslib.as_array(self._llama.llama_get_logits_ith(self._context, -1), (self._width,))
        return int(np.argmax(logits))

    def _remove_from(self, length: int) -> None:
        self._llama.llama_memory_seq_rm(self._memory, 0, length, -1)
        del self._cached[length:]


def open_peer(**options: Any) -> LlamaCpp:
    return LlamaCpp(**options)
