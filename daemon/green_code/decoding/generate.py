"""Generation over a cache: `fast`, where exits decide the tokens, and `exact`, where the last layer decides all.

Both draft what they can guess and decide over the drafts in one batch. They are streams of (token, depth) that know nothing
of text; `generate` drives one and applies the stop rules.
Greedy throughout: the agent was trained on greedy states, and a completion should not change by chance.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest

import torch

from green_code.decoding.draft import Draft
from green_code.decoding.drafter import draft
from green_code.decoding.effort import Effort, spent
from green_code.decoding.exit_policies import Full, Policy, View
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import MAX_DRAFTS, PriceBook, Prices
from green_code.decoding.stop_rules import Situation, check
from green_code.models.backend import TopToken
from green_code.models.vocabulary import Vocabulary, text_of


@dataclass
class Generated:
    """A finished completion.

    `exits[i]` is the depth that decoded token i; in `exact` that of the exit that drafted it, and L where text drafted it
    or nothing did: the last layer alone has spoken then.
    """

    text: str = ""
    reason: str = "max_tokens"
    tokens: list[int] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    effort: Effort = field(default_factory=Effort)


def fast(
    cache: KVCache,
    policy: Policy,
    chooser: Chooser,
    required: bytes,
    effort: Effort,
    ends: Callable[[int], bool] = lambda _: False,
    price_book: PriceBook | None = None,
    max_tokens: int | None = None,
) -> Iterator[tuple[int, int]]:
    """Each token comes from the exit at which the policy stops; with the policy `full`, from the last layer.

    Drafts change no token, where `exact` gives those of full depth and the policy has one exit or does not look at the pending work.

    Args: see `exact`, but for
        drafter: text alone drafts; by default nothing does.
    """
    return _draft_and_decide(cache, Full(), policy, chooser, required, effort, ends, price_book, max_tokens)


def exact(
    cache: KVCache,
    policy: Policy,
    chooser: Chooser,
    required: bytes,
    effort: Effort,
    ends: Callable[[int], bool] = lambda _: False,
    price_book: PriceBook | None = None,
    max_tokens: int | None = None,
) -> Iterator[tuple[int, int]]:
    """The tokens of full depth: text and exits draft as long as that pays, one batch to full depth verifies.

    Nothing is drafted beyond a token that `ends` the completion, nor beyond `max_tokens`. In the kernel, and in torch's
    float32, the tokens are those of `fast` with the policy `full`; in torch's bfloat16 a batch rounds otherwise than
    a single row, and the two may part where two tokens are all but equally likely.

    Args:
        drafter: where drafts come from; by default exits alone, at the price of their layers, whatever was lost before.
    """
    return _draft_and_decide(cache, policy, Full(), chooser, required, effort, ends, price_book, max_tokens)


def _draft_and_decide(
    cache: KVCache,
    drafting: Policy,
    deciding: Policy,
    chooser: Chooser,
    required: bytes,
    effort: Effort,
    ends: Callable[[int], bool],
    price_book: PriceBook | None,
    max_tokens: int | None,
) -> Iterator[tuple[int, int]]:
    """(token, depth) without end: drafts of text and of the exits of one policy, over which another decides."""
    config, given = cache.decoder.config, 0
    price_book = price_book or PriceBook(Prices(config.layers, run=1.0), None, math.inf)
    lowest = min((*deciding.exits, config.layers))
    prices = {depth: price_book.prices.up_to(depth, deciding) for depth in range(lowest, config.layers + 1)}
    bounds = prices[lowest], prices[config.layers]
    while True:
        start, before = len(cache) - 1, spent(cache, effort, price_book.prices)
        room = config.max_positions - len(cache)
        limit = min(MAX_DRAFTS, room if max_tokens is None else min(room, max_tokens - given - 1))
        if lowest == config.layers:
            waits = cache.pending(start, config.layers)  # full depth would bring it up as well
        else:  # its cache would lack those positions alone that no layer has seen
            waits = (config.layers - 1) * cache.pending(start, 1) + 1
        first = price_book.prices.first(waits)
        said: list[tuple[int, int]] = []
        try:
            drafts, unsure = draft(
                cache, drafting, chooser, required, effort, ends, price_book, limit, bounds, first
            )
            if drafts and ends(drafts[-1].token):
                cache.truncate(len(cache) - 1)  # what would follow the end needs no decision
            said = decide(cache, start, deciding, chooser, required, effort, drafts)
        finally:  # what was begun and interrupted has cost as well
            if lowest == config.layers:
                done = spent(cache, effort, price_book.prices) - before
            else:
                risen = (cache.depth(position) for position in range(start + 1, len(cache)))
                done = sum(prices[depth].row(0) for depth in risen if depth in prices)
            price_book.spent += done
            if not said:
                price_book.full += done  # full depth would have been interrupted as well: no loss is booked
        cache.truncate(start + len(said))
        price_book.verifications += 1
        agreed = list(_learn(said, drafts, unsure))
        price_book.follow(agreed)
        given += len(agreed)
        for i, (token, depth) in enumerate(agreed):
            # Full depth would not have run for those that nobody takes.
            required = chooser.left(required, token)
            whole = price_book.prices.whole if i else first
            price_book.full += whole
            if lowest < config.layers:
                price_book.spent += whole - (prices[depth].whole if i else 0.0)
            yield token, depth
        cache.append([said[-1][0]])


def decide(
    cache: KVCache,
    start: int,
    policy: Policy,
    chooser: Chooser,
    required: bytes,
    effort: Effort,
    drafts: Sequence[Draft],
) -> list[tuple[int, int]]:
    """(token, depth that gave it) behind the position `start` and behind each of the drafts that stand there, up to the first
    that is not the draft.

    From exit to exit, in one batch, rise the positions at which the policy has not stopped. Where exits drafted, the policy
    must have none: their positions stand higher than `start` then, and keep the states that drafting computed.
    """
    layers, asked = cache.decoder.config.layers, [required]
    for guess in drafts:
        asked.append(chooser.left(asked[-1], guess.token))
    said: list[tuple[int, int] | None] = [None] * (len(cache) - start)
    for depth in (*policy.exits, layers):
        rising = [i for i, each in enumerate(said) if each is None]
        if not rising:
            break
        # What an exit has decided between these goes along.
        cache.advance(start + rising[-1], depth, start + rising[0])
        look = _shared_look(cache, [start + i for i in rising], depth)
        looked = False
        carried = 0  # of the pending work, what a position before will have paid
        for row, i in enumerate(rising):
            pending = cache.pending(start + i, layers) if depth < layers else 0
            view = View(cache, start + i, depth, pending - carried, partial(look, row))
            if depth < layers:
                effort.decisions += policy.network_runs
                stop = policy.stop(view)
                looked |= view.looked
                if not stop:
                    carried = pending - 1  # but the last layer over itself
                    continue
            token = chooser.choose(view, asked[i])
            if view.scored:
                effort.count_head()  # of the tokens that are allowed
            looked |= view.looked
            said[i] = token, depth
            if i < len(drafts) and token != drafts[i].token:
                del said[i + 1 :]
                break
        if looked:
            effort.count_head(len(rising))
    return [each for each in said if each is not None]


def _shared_look(cache: KVCache, positions: Sequence[int], depth: int) -> Callable[[int], TopToken]:
    """What the head says of each of these at `depth`; when it is first asked about one, it looks at all."""
    tops: list[TopToken] = []

    def look(row: int) -> TopToken:
        if not tops:
            tops.extend(cache.top_tokens(positions, depth))
        return tops[row]

    return look


def _learn(
    said: Sequence[tuple[int, int]], drafts: Sequence[Draft], unsure: Draft | None
) -> Iterator[tuple[int, int]]:
    """What was said, with the depth of the exit that drafted it; the rates of drafts learn from it.

    Args:
        unsure: what an exit would have given behind the drafts; its rate learns from what comes there.
    """
    for (token, depth), guess in zip_longest(said, drafts[: len(said)]):
        if guess is not None:
            guess.rate.observe(token == guess.token)
            depth = min(depth, guess.depth) if token == guess.token else depth
        elif unsure is not None:
            unsure.rate.observe(token == unsure.token)
        yield token, depth


@torch.inference_mode()
def generate(
    result: Generated,
    cache: KVCache,
    vocabulary: Vocabulary,
    chooser: Chooser,
    policy: Policy,
    *,
    exactly: bool,
    required: bytes,
    situation: Situation | None,
    max_tokens: int,
    deadline: float,
    price_book: PriceBook | None = None,
) -> None:
    """Complete the prompt that `cache` holds, into `result`: what was done is in there even when interrupted.

    Args:
        exactly: by `exact` rather than `fast`. required: bytes that must come first (healing), not part of the text.
        situation: the cursor, for the stop rules; None: none but the end of the text.
        deadline: on `time.monotonic()`'s clock; later tokens are not begun. drafter: see `exact`.
    """
    data = bytearray()
    # The last token has no position of its own.
    max_tokens = min(max_tokens, cache.decoder.config.max_positions - len(cache) + 1)

    def ends(token: int) -> bool:
        one_line = situation is not None and situation.single_line
        return token in vocabulary.eos or (one_line and b"\n" in vocabulary.token_bytes[token])

    decode = exact if exactly else fast
    for token, depth in decode(cache, policy, chooser, required, result.effort, ends, price_book, max_tokens):
        result.effort.passes += 1
        if token in vocabulary.eos:
            result.reason = "end_of_text"
            break
        result.tokens.append(token)
        result.exits.append(depth)
        data += vocabulary.token_bytes[token]
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
