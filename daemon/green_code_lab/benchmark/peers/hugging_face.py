"""transformers: plain greedy decoding, drafts by prompt look-up, and drafts by the model's own early exit.

Plain decoding keeps a `DynamicCache` between completions and crops it to what two prompts have in common, which is
what a user of transformers has to do to get what Green Code's sessions do. Assisted decoding takes no filled cache:
its first pass runs the whole prompt (`GenerationMixin._assisted_decoding`, transformers 5.24), after whatever the cache
holds. So there each completion begins anew, as it does for its users.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers

from green_code.sequences import common
from green_code_lab.benchmark.peer import Prompt


class HuggingFace:
    """`generate` over a folder in the Hugging Face layout.

    Args:
        dtype: torch's name of the data type. assistance: what makes `generate` draft; nothing for plain decoding.
    """

    def __init__(self, folder: str, dtype: str, assistance: Mapping[str, Any]) -> None:
        logging: Any = transformers.utils.logging
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype)
        )
        self._model.generation_config.eos_token_id = (
            None  # a completion ends after as many tokens as were asked for
        )
        self._model.generation_config.pad_token_id = 0
        self._dtype, self._assistance = dtype, dict(assistance)
        self.forget()

    def describe(self) -> str:
        return f"transformers {transformers.__version__}, torch {torch.__version__}, {self._dtype}"

    def use_threads(self, count: int) -> None:
        torch.set_num_threads(count)

    def forget(self) -> None:
        cache: Any = transformers.DynamicCache(config=self._model.config)
        if hasattr(cache, "activate_past_recording"):
            cache.activate_past_recording()  # else what lies before a layer's window is gone, and crop refuses
        self._cache, self._cached = cache, list[int]()
        self._least = 0

    @torch.inference_mode()
    def complete(self, prompt: Prompt, count: int) -> list[int]:
        ids = torch.tensor([prompt.ids])
        asked = {"attention_mask": torch.ones_like(ids), "max_new_tokens": count, "do_sample": False}
        if self._assistance:
            written: list[int] = self._model.generate(ids, **asked, **self._assistance)[0].tolist()
        else:
            self._keep(common(self._cached, prompt.ids[:-1]))  # the last position gives the first token
            written = self._model.generate(ids, **asked, cache=self._cache)[0].tolist()
            self._cached = written[: self._cache.get_seq_length()]
        return written[len(prompt.ids) :]

    def _keep(self, length: int) -> None:
        """Crop to `length` positions; begin anew where the last crop has taken what a layer's window would need."""
        if length < max(1, self._least):
            self.forget()
        elif surplus := self._cache.get_seq_length() - length:
            self._cache.crop(-surplus)
            self._least = length


def open_peer(**options: Any) -> HuggingFace:
    return HuggingFace(**options)
