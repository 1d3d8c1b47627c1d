"""A completion from a stream of tokens: text, end of text and stop rules, limits.

Greedy: the agent is trained on greedy states, and a completion should not change by chance.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from green_code.decoding.stop_rules import Situation, check
from green_code.decoding.verifier import Decoded
from green_code.models.vocabulary import Vocabulary, text_of


@dataclass
class Generated:
    """A completion, finished or interrupted. `exits[i]` is the depth that decoded token i (see `speculative.decode`); `passes` counts the tokens
    that were decoded, the end of the text included: full depth needs a forward pass for each."""

    text: str = ""
    reason: str = "max_tokens"
    tokens: list[int] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    passes: int = 0


def ends_completion(token: int, vocabulary: Vocabulary, situation: Situation | None) -> bool:
    """Whether no later token can be part of the completion, whatever it is."""
    one_line = situation is not None and situation.single_line
    return token in vocabulary.eos or (one_line and b"\n" in vocabulary.token_bytes[token])


@torch.inference_mode()
def generate(
    result: Generated,
    stream: Iterator[Decoded],
    vocabulary: Vocabulary,
    *,
    required: bytes,
    situation: Situation | None,
    max_tokens: int,
    deadline: float,
) -> None:
    """Take tokens from `stream` into `result`, which holds what was done even when interrupted.

    Args:
        required: bytes that come first (token healing) and are no part of the text.
        situation: the cursor, for the stop rules; None: only the end of the text stops.
        deadline: on `time.monotonic()`'s clock; no token is begun after it.
    """
    data = bytearray()
    for decoded in stream:
        result.passes += 1
        if decoded.token in vocabulary.eos:
            result.reason = "end_of_text"
            break
        result.tokens.append(decoded.token)
        result.exits.append(decoded.depth)
        data += vocabulary.token_bytes[decoded.token]
        result.text = text_of(bytes(data[len(required) :]))
        if situation is not None and (stop := check(result.text, situation)):
            result.reason, length = stop
            result.text = result.text[:length]
            break
        if len(result.tokens) >= max_tokens:
            break
        if time.monotonic() > deadline:
            result.reason = "budget"
            break
