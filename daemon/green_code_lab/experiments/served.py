"""A completion of a prompt of tokens, as a session makes it that knows nothing yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from green_code.decoding.effort import Effort
from green_code.decoding.exit_policies import Policy
from green_code.decoding.generate import exact, fast
from green_code.decoding.kv_cache import EXACT_TAIL, KVCache
from green_code.engine.runtime import Runtime


def as_served(
    runtime: Runtime, prompt: Sequence[int], policy: Policy, *, exactly: bool, max_tokens: int
) -> tuple[KVCache, Effort, Iterator[tuple[int, int]]]:
    """Tokens are guessed from the text, and in `fast` the prompt settles, where the bundle has a prefill exit.

    Args:
        exactly: by `exact` rather than `fast`.
    Returns:
        The cache and the effort, in which is counted what is done; and the stream of (token, depth), which no stop rule ends.
    """
    cache, effort = KVCache(runtime.decoder, prefill_exit=None if exactly else runtime.prefill_exit), Effort()
    price_book = runtime.new_session().price_book
    cache.append(prompt)
    cache.propagate_before(len(prompt) - 1 - EXACT_TAIL)
    if price_book.lookup is not None:
        price_book.lookup.document.follow(prompt)
    decode = exact if exactly else fast
    return cache, effort, decode(
        cache, policy, runtime.chooser, b"", effort, price_book=price_book, max_tokens=max_tokens
    )  # fmt: skip
