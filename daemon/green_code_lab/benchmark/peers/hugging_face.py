"""transformers: greedy decoding, drafts by prompt lookup, and drafts by the model's own early exit.

Greedy decoding keeps a `DynamicCache` between completions and crops it to the common beginning of two prompts, as a
user has to do to get what Green Code's sessions do. Assisted decoding takes no filled cache: its first forward pass
runs the whole prompt (`GenerationMixin._assisted_decoding`, transformers 5.24), so each completion starts anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers

from green_code.sequences import common
from green_code_lab.benchmark.peers import Prompt


class Engine:
    """A folder in the Hugging Face layout. `assistance`: arguments that make `generate` draft; none for greedy decoding."""

    def __init__(self, folder: str, dtype: str, assistance: Mapping[str, Any]) -> None:
        auto: Any = transformers.AutoModelForCausalLM
        self._model = auto.from_pretrained(folder, dtype=getattr(torch, dtype))
        self._model.generation_config.eos_token_id = None  # only the number of tokens ends a completion
        self._model.generation_config.pad_token_id = 0
        self._dtype, self._assistance = dtype, dict(assistance)
        self.clear_cache()

    def version(self) -> str:
        return f"transformers {transformers.__version__}, torch {torch.__version__}, {self._dtype}"

    def set_threads(self, count: int) -> None:
        torch.set_num_threads(count)

    def clear_cache(self) -> None:
        cache: Any = transformers.DynamicCache(config=self._model.config)
        if hasattr(cache, "activate_past_recording"):
            cache.activate_past_recording()  # otherwise crop refuses what lies before a layer's window
        self._cache, self._cached, self._least = cache, list[int](), 0

    @torch.inference_mode()
    def complete(self, prompt: Prompt, count: int) -> list[int]:
        ids = torch.tensor([prompt.ids])
        asked = {"attention_mask": torch.ones_like(ids), "max_new_tokens": count, "do_sample": False}
        if self._assistance:
            tokens: list[int] = self._model.generate(ids, **asked, **self._assistance)[0].tolist()
        else:
            self._crop(common(self._cached, prompt.ids[:-1]))  # the last position gives the first token
            tokens = self._model.generate(ids, **asked, cache=self._cache)[0].tolist()
            self._cached = tokens[: self._cache.get_seq_length()]
        return tokens[len(prompt.ids) :]

    def _crop(self, length: int) -> None:
        """Crop to `length` positions; start anew if the last crop removed what a layer's window would need."""
        if length < max(1, self._least):
            self.clear_cache()
        elif surplus := self._cache.get_seq_length() - length:
            self._cache.crop(-surplus)
            self._least = length
