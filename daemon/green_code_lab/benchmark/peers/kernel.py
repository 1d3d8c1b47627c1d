"""The kernel alone, at full depth: ids in and out, without drafts, exits or stop rules, as llama.cpp is asked here, too."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from green_code.decoding.kv_cache import KVCache
from green_code.kernels.binding import open_kernel
from green_code.kernels.weight_format import KernelFormat
from green_code.models.bundle import bundle_of
from green_code.models.catalog import find_model
from green_code.models.weights import open_model
from green_code.sequences import common
from green_code_lab.benchmark.peers import Prompt


class Engine:
    """A model that was converted under these variables of the environment, with its bundle. Its threads are the cores that it may use."""

    def __init__(self, model: str, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        kernel = open_kernel()
        assert kernel is not None  # it made the conversion
        self._decoder = open_model(find_model(model), bundle_of(model), [KernelFormat(kernel)]).decoder
        self._cache = KVCache(self._decoder)

    def version(self) -> str:
        return self._decoder.description

    def set_threads(self, count: int) -> None:
        """Nothing to do: the process is on so many cores."""

    def clear_cache(self) -> None:
        self._cache.truncate(0)

    def complete(self, prompt: Prompt, count: int) -> list[int]:
        kept = common(self._cache.tokens, prompt.ids[:-1])  # the last position gives the first token
        self._cache.truncate(kept)
        tokens = [self._next(prompt.ids[kept:])]
        while len(tokens) < count:
            tokens.append(self._next(tokens[-1:]))
        return tokens

    def _next(self, ids: Sequence[int]) -> int:
        """The most likely token after `ids`, which are appended to the cache."""
        self._cache.append(ids)
        last, depth = len(self._cache) - 1, self._decoder.config.layers
        self._cache.advance(last, depth)
        return self._cache.top_tokens([last], depth)[0].token
