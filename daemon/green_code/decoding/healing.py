"""Token healing: the token that touches the cursor is taken back and written anew.

A prompt that ends inside a word ends in a token the model would hardly have chosen (`ret` for `return`). So that
token is removed from the prompt, and the first tokens generated must spell its bytes again, whatever they add.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from green_code.decoding.exit_policies import View
from green_code.models.vocabulary import Vocabulary

_MANY = 1024
"""Tokens whose scores cost more than what the head says of all, through its screen."""


def heal(tokens: Sequence[int], vocabulary: Vocabulary) -> tuple[list[int], bytes]:
    """Split a prompt into the tokens to keep and the bytes that must be generated first.

    Nothing is taken back after a line break, where no word can go on, nor when the prompt is one token or none.
    """
    last = vocabulary.token_bytes[tokens[-1]] if len(tokens) > 1 else b""
    if not last or last.endswith(b"\n"):
        return list(tokens), b""
    return list(tokens[:-1]), last


class Chooser:
    """Greedy choice among the tokens that agree with the bytes still required."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._allowed: dict[bytes, Tensor] = {}

    def choose(self, view: View, required: bytes) -> int:
        """Id of the most likely allowed token."""
        if not required:
            return view.top.token
        if required not in self._allowed:
            compatible = self._vocabulary.tokens_compatible_with(required)
            self._allowed[required] = torch.tensor(compatible, dtype=torch.int32)
        allowed = self._allowed[required]
        if len(allowed) > _MANY and self._vocabulary.is_compatible(view.top.token, required):
            return view.top.token  # the likeliest of all is the likeliest of these
        return view.top_token_among(allowed)

    def left(self, required: bytes, token: int) -> bytes:
        """What is still required after `token`."""
        return required[len(self._vocabulary.token_bytes[token]) :]
