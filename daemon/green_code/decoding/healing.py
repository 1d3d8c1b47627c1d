"""Token healing: the token that touches the cursor is taken back and generated anew.

A prompt that ends inside a word ends in a token that the model would hardly have chosen (`ret` for `return`). So that token is
removed from the prompt, and the first generated tokens must spell its bytes again, whatever they add.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from green_code.decoding.exit_policies import ExitView
from green_code.models.backend import TopToken
from green_code.models.vocabulary import Vocabulary

_MAX_SCORED = 1024
"""Scoring more tokens than this costs more than the top token of all by the SVD head."""


def heal(tokens: Sequence[int], vocabulary: Vocabulary) -> tuple[list[int], bytes]:
    """The tokens that a prompt keeps, and the bytes that must be generated first.

    Nothing is taken back after a line break, where no word can go on, nor when the prompt is one token or none.
    """
    last = vocabulary.token_bytes[tokens[-1]] if len(tokens) > 1 else b""
    if not last or last.endswith(b"\n"):
        return list(tokens), b""
    return list(tokens[:-1]), last


class Chooser:
    """Greedy choice among the tokens that agree with the required bytes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._allowed: dict[bytes, Tensor] = {}

    def choose(self, view: ExitView, required: bytes) -> TopToken:
        """The likeliest allowed token, with its log-odds among those that were scored."""
        if not required:
            return view.top
        if required not in self._allowed:
            compatible = self._vocabulary.tokens_compatible_with(required)
            self._allowed[required] = torch.tensor(compatible, dtype=torch.int32)
        allowed = self._allowed[required]
        if len(allowed) > _MAX_SCORED and self._vocabulary.is_compatible(view.top.token, required):
            return view.top  # the likeliest of all is the likeliest of these
        return view.top_among(allowed)

    def left(self, required: bytes, token: int) -> bytes:
        """What is still required after `token`."""
        return required[len(self._vocabulary.token_bytes[token]) :]
