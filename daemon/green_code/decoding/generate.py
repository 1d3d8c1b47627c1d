"""A completion from a stream of tokens: text, end of text, stop rules and stop policy, limits.

Greedy: the agent is trained on greedy states, and a completion should not change by chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from green_code.decoding.cutting import SURE, cut, finished, finished_line
from green_code.decoding.draft import Source
from green_code.decoding.healing import Spelled, spelled_again
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.stop_rules import Situation, check, line_end
from green_code.decoding.stopping import SURE_LINE, Counting, StopPolicy, StopView
from green_code.decoding.verifier import Decoded
from green_code.models.vocabulary import Vocabulary, text_of


@dataclass
class Generated:
    """A completion, finished or interrupted.

    `exits[i]` is the depth that decoded token i (see `speculative.decode`), `drafts[i]` who drafted it. `passes` counts the tokens that
    were decoded, the end of the text and the one that a stop policy refused included: full depth needs a forward pass for each.
    `refused`: by the stop policy, before any token of the text. `estimates[i]`: the length of the text with token i, and the
    probability that all of it is right.
    """

    text: str = ""
    reason: str = "max_tokens"
    tokens: list[int] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    drafts: list[Source | None] = field(default_factory=list)
    passes: int = 0
    refused: bool = False
    estimates: list[tuple[int, float]] = field(default_factory=list)

    @property
    def confidence(self) -> float:
        """The probability that all of the text is right: the stop policy's estimate, or the product of the tokens' probabilities."""
        return next((right for length, right in self.estimates if length >= len(self.text)), 1.0)

    @property
    def sure(self) -> int:
        """How many characters are right with a probability of `SURE`."""
        return max((length for length, right in self.estimates if right >= SURE), default=0)


class Spelling(Spelled, Protocol):
    """What `generate` needs of a vocabulary."""

    @property
    def eos(self) -> Container[int]: ...


def ends_completion(token: int, vocabulary: Vocabulary, situation: Situation) -> bool:
    """Whether no later token can be part of the completion, whatever it is."""
    return token in vocabulary.eos or (situation.single_line and b"\n" in vocabulary.token_bytes[token])


def generate(
    result: Generated,
    counting: Counting,
    stream: Iterator[Decoded],
    vocabulary: Spelling,
    *,
    required: bytes,
    situation: Situation,
    stop: StopPolicy | None,
    max_tokens: int,
    deadline: float,
) -> None:
    """Take tokens from `stream` into `result`, which holds what was done even when interrupted.

    Args:
        counting: the cache that holds the prompt; `stream` decodes behind it.
        required: bytes that come first (token healing) and are no part of the text.
        situation: the cursor, for the stop rules. stop: None: these alone end the completion.
        deadline: on `time.monotonic()`'s clock; no token is begun after it.
    """
    data, skipped, product, right = bytearray(), spelled_again(required), 1.0, 1.0
    for decoded in stream:
        result.passes += 1
        if decoded.token in vocabulary.eos:
            result.reason = "end_of_text"
            break
        data += vocabulary.token_bytes[decoded.token]
        text, before = text_of(bytes(data[skipped:])), len(result.text)
        if len(data) > skipped:  # those before only spell what is there
            right = product = product * decoded.probability
            if stop is not None:
                right = stop.right(counting, StopView(decoded, product, len(result.tokens), before))
            if stop is not None and right < stop.threshold:
                result.text = cut(result.text, text[before:], situation, result.sure)
                result.reason = "unsure" if result.text else "unlikely"
                break
        result.tokens.append(decoded.token)
        result.exits.append(decoded.depth)
        result.drafts.append(decoded.draft)
        result.text = text
        result.estimates.append((len(text), right))
        if ended := check(text, situation):
            result.reason, length = ended
            result.text = text[:length]
            break
        if stop is not None and right < SURE_LINE and (end := line_end(text, situation, before)) is not None:
            result.reason, result.text = "end_of_line", finished_line(text[:end], situation)
            break
        if len(result.tokens) >= max_tokens:
            break
        if time.monotonic() > deadline:
            result.reason = "budget"
            break
    if result.reason not in ("unsure", "unlikely"):
        result.text = finished(result.text, result.reason, situation)


def refusal(result: Generated, cache: KVCache, stop: StopPolicy | None) -> Callable[[int], bool]:
    """`refuses` of `speculative.decode`: while there is no text, a position comes to each depth at which it may be refused, and is judged.

    Where a position is deeper already, it is not refused: the work is done.
    """
    refusal = stop.refusal if stop is not None else None

    def refuses(position: int) -> bool:
        for depth in refusal.depths if refusal is not None and not result.text else ():
            if cache.depth(position) <= depth:
                cache.advance(position, depth, position)
                if refusal is not None and refusal.refuses(cache, position, depth):
                    result.refused, result.reason = True, "unlikely"
                    return True
        return False

    return refuses
