"""The decoding loop: draft → verify → accept (speculative decoding, Leviathan et al., arXiv 2211.17192; greedy).

With a verifier whose policy is `Full` the tokens are those of full depth (`exact`), whatever the drafts. With one whose policy has
exits they are those of the exits (`fast`); drafts change none of them, where the policy has one exit or does not use the
pending work. In the kernel and in torch's float32 that is exact; in bfloat16 a batch rounds differently from a single row, and
two nearly equally likely tokens may change places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from green_code.decoding.draft import Draft
from green_code.decoding.drafter import MAX_DRAFTS, Drafter
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import RoundObserver
from green_code.decoding.verifier import Verifier


def decode(
    cache: KVCache, drafter: Drafter, verifier: Verifier, required: bytes = b"", max_tokens: int | None = None
) -> Iterator[tuple[int, int]]:
    """Tokens behind the cache's last position, as many as the model has positions for, each with the depth that decoded it.

    In `exact` the depth is that of the exit whose draft was accepted, and L for all other tokens.

    Args:
        required: bytes that the first tokens must spell (token healing). max_tokens: nothing is drafted beyond.
    """
    observer, taken = RoundObserver(drafter.book, cache, verifier.policy), 0
    while True:
        start, verified = len(cache) - 1, list[tuple[int, int]]()
        room = cache.decoder.config.max_positions - len(cache)
        limit = min(MAX_DRAFTS, room if max_tokens is None else min(room, max_tokens - taken - 1))
        observer.begin()
        try:
            drafts, unsure = drafter.draft(cache, observer, required, limit)
            verified = verifier.verify(cache, start, required, drafts)
        finally:  # an interrupted round has cost something, too
            observer.end(interrupted=not verified)
        cache.truncate(start + len(verified))
        accepted = list(_accept(verified, drafts, unsure))
        if drafter.lookup is not None:
            drafter.lookup.document.extend([token for token, _ in accepted])
        taken += len(accepted)
        for i, (token, depth) in enumerate(accepted):
            required = verifier.chooser.left(required, token)
            observer.take(i, depth)
            yield token, depth
        if len(cache) == cache.decoder.config.max_positions:
            return  # the last token has no position of its own
        cache.append([verified[-1][0]])


def _accept(
    verified: Sequence[tuple[int, int]], drafts: Sequence[Draft], unsure: Draft | None
) -> Iterator[tuple[int, int]]:
    """The verified tokens with the depth of the exit that drafted them; acceptance rates observe the outcome.

    Args:
        unsure: what an exit would have drafted next; its rate observes the token that was verified there.
    """
    for (token, depth), draft in zip_longest(verified, drafts[: len(verified)]):
        if draft is not None:
            draft.rate.observe(token == draft.token)
            depth = min(depth, draft.depth) if token == draft.token else depth
        elif unsure is not None:
            unsure.rate.observe(token == unsure.token)
        yield token, depth
