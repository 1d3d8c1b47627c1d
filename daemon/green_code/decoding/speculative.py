"""The decoding loop: draft → verify → accept (speculative decoding, Leviathan et al., arXiv 2211.17192; greedy).

With a verifier whose policy is `Full` the tokens are those of full depth (`exact`), whatever the drafts. With one whose policy has
exits they are those of the exits (`fast`); drafts change none of them, where the policy has one exit or does not use the
pending work. In the kernel and in torch's float32 that is exact; in bfloat16 a batch rounds differently from a single row, and
two nearly equally likely tokens may change places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from green_code.decoding.draft import Draft
from green_code.decoding.drafter import MAX_DRAFTS, Drafter
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import RoundObserver
from green_code.decoding.verifier import Decoded, Verifier


def decode(
    cache: KVCache, drafter: Drafter, verifier: Verifier, required: bytes = b"", max_tokens: int | None = None
) -> Iterator[Decoded]:
    """Tokens behind the cache's last position, as many as the model has positions for.

    In `exact` a token's depth is that of the exit whose draft was accepted, and L for all others; state and log-odds are those
    of the last layer.

    Args:
        required: bytes that the first tokens must spell (token healing). max_tokens: nothing is drafted beyond.
    """
    observer, taken = RoundObserver(drafter.book, cache, verifier.policy), 0
    while True:
        start, verified = len(cache) - 1, list[Decoded]()
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
            drafter.lookup.document.extend([each.token for each in accepted])
        taken += len(accepted)
        for i, decoded in enumerate(accepted):
            required = verifier.chooser.left(required, decoded.token)
            observer.take(i, decoded.depth)
            yield decoded
        if len(cache) == cache.decoder.config.max_positions:
            return  # the last token has no position of its own
        cache.append([verified[-1].token])


def _accept(verified: Sequence[Decoded], drafts: Sequence[Draft], unsure: Draft | None) -> Iterator[Decoded]:
    """The verified tokens with the depth of the exit that drafted them; acceptance rates observe the outcome.

    Args:
        unsure: what an exit would have drafted next; its rate observes the token that was verified there.
    """
    for decoded, draft in zip_longest(verified, drafts[: len(verified)]):
        if draft is not None:
            draft.rate.observe(decoded.token == draft.token)
            if decoded.token == draft.token and draft.depth < decoded.depth:
                decoded = replace(decoded, depth=draft.depth)
        elif unsure is not None:
            unsure.rate.observe(decoded.token == unsure.token)
        yield decoded
