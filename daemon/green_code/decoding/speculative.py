"""The decoding loop: draft → verify → accept (speculative decoding, Leviathan et al., arXiv 2211.17192; greedy).

With a verifier whose policy is `Full` the tokens are those of full depth (`exact`), whatever the drafts. With one whose policy has
exits they are those of the exits (`fast`); drafts change none of them, where the policy has one exit or does not use the
pending work. In the kernel and in torch's float32 that is exact; in bfloat16 a batch rounds differently from a single row, and
two nearly equally likely tokens may change places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from green_code.decoding.draft import Draft
from green_code.decoding.drafter import MAX_DRAFTS, Drafter
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import RoundObserver
from green_code.decoding.verifier import Decoded, Verifier


def decode(
    cache: KVCache,
    drafter: Drafter,
    verifier: Verifier,
    required: bytes = b"",
    max_tokens: int | None = None,
    resumed: Sequence[int] | None = None,
    refuses: Callable[[int], bool] = lambda position: False,
) -> Iterator[Decoded]:
    """Tokens behind a prompt that the cache holds, as many as the model has positions for.

    In `exact` a token's depth is that of the exit whose draft was accepted, and L for all others; state and log-odds are those
    of the last layer.

    Args:
        required: bytes that the first tokens must spell (token healing). max_tokens: nothing is drafted beyond.
        resumed: None where a layer must run before the first token. Else the cache holds these tokens behind the prompt, and it
            may be that no layer need run over them and the prompt's last position. They are verified like drafts.
        refuses: asked of the last position before layers run for a token behind it; whether to end there.
    """
    observer, taken = RoundObserver(drafter.book, cache, verifier.policy), 0
    if resumed is not None:
        start = len(cache) - 1 - len(resumed)
        verified = verifier.verify(cache, start, required, resumed)
        cache.truncate(start + len(verified))
        if drafter.lookup is not None:
            drafter.lookup.document.extend([each.token for each in verified])
        taken = len(verified)
        for decoded in verified:
            required = verifier.chooser.left(required, decoded.token)
            yield decoded
        if len(cache) == cache.decoder.config.max_positions:
            return
        cache.append([verified[-1].token])
    while not refuses(len(cache) - 1):
        start, verified = len(cache) - 1, list[Decoded]()
        room = cache.decoder.config.max_positions - len(cache)
        limit = min(MAX_DRAFTS, room if max_tokens is None else min(room, max_tokens - taken - 1))
        observer.begin()
        try:
            drafts, unsure = drafter.draft(cache, observer, required, limit)
            verified = verifier.verify(cache, start, required, [draft.token for draft in drafts])
        finally:  # an interrupted round has cost something, too
            observer.end(interrupted=not verified)
        cache.truncate(start + len(verified))
        accepted = [_with_draft(*each) for each in zip_longest(verified, drafts[: len(verified)])]
        if drafter.lookup is not None:
            drafter.lookup.document.extend([each.token for each in accepted])
        taken += len(accepted)
        for i, (decoded, guess) in enumerate(zip(accepted, (*drafts, unsure), strict=False)):
            required = verifier.chooser.left(required, decoded.token)
            observer.take(i, decoded.depth)
            useful = False  # a right draft is, where the completion goes on behind it
            try:
                yield decoded
                useful = guess is not None and guess.token == decoded.token
            finally:
                if guess is not None:
                    guess.rate.observe(useful)
        if len(cache) == cache.decoder.config.max_positions:
            return  # the last token has no position of its own
        cache.append([verified[-1].token])


def _with_draft(decoded: Decoded, draft: Draft | None) -> Decoded:
    """The token with who drafted it, and with the depth of the exit that did."""
    if draft is None or draft.token != decoded.token:
        return decoded
    return replace(decoded, depth=min(decoded.depth, draft.depth), draft=draft.source)
