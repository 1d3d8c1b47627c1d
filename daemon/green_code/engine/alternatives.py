"""Further completions of a request, which begin with another token than the first.

Must not know: who asks, or what a completion costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from green_code.decoding.exit_policies import ExitView
from green_code.decoding.generate import Generated
from green_code.decoding.healing import Chooser, spelled_again
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.verifier import Decoded
from green_code.models.vocabulary import Vocabulary

_TRIED = 2
"""First tokens that are tried for each alternative: some give a text that is there already."""

Continue = Callable[[list[int], Decoded, bytes, bytes], Generated]
"""A completion from what follows the prompt: tokens that only spell, the first token of the text, the bytes that are required before
it, and those behind it. The cache holds all of these tokens."""


def alternatives(
    cache: KVCache,
    vocabulary: Vocabulary,
    chooser: Chooser,
    prompt_length: int,
    required: bytes,
    first: Generated,
    count: int,
    go_on: Continue,
) -> Iterator[Generated]:
    """Completions whose text begins with the next likely tokens, until `count` have a text of their own; the others have none.

    Args:
        cache: holds the prompt, and `first` behind it; in the end, the prompt and what only spells. required: bytes that the first
            tokens spell.
    """
    spelled = list[int]()
    for token in first.tokens:
        if len(vocabulary.token_bytes[token]) > spelled_again(required):
            break
        required = chooser.left(required, token)
        spelled.append(token)
    position = prompt_length + len(spelled) - 1
    depth, known, texts = cache.depth(position), [first.tokens[len(spelled)]], {_signs(first.text)}
    try:
        for _ in range(_TRIED * count):
            cache.truncate(position + 1)
            if len(texts) > count:
                return
            top = chooser.choose_other(ExitView(cache, position, depth, 0), required, known)
            if top is None:
                return
            known.append(top.token)
            cache.append([top.token])
            decoded = Decoded(top.token, depth, top.log_odds, position)
            other = go_on(spelled, decoded, required, chooser.left(required, top.token))
            if (signs := _signs(other.text)) in texts:
                other.text = ""
            elif signs:
                texts.add(signs)
            yield other
    finally:
        cache.truncate(position + 1)


def _signs(text: str) -> str:
    """Without white space: two texts that differ in it alone are one."""
    return "".join(text.split())
