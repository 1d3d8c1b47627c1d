"""Putting drafts on a cache: from text and from exits, the better at each place, while one pays.

Whether a guess pays is drafter.py's to say; here the sources are asked, and what they say is put behind the last token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from green_code.decoding.draft import Draft
from green_code.decoding.effort import Effort
from green_code.decoding.exit_policies import Policy, View
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import PriceBook, Prices
from green_code.decoding.prompt_lookup import LENGTHS


def draft(
    cache: KVCache,
    policy: Policy,
    chooser: Chooser,
    required: bytes,
    effort: Effort,
    ends: Callable[[int], bool],
    price_book: PriceBook,
    limit: int,
    bounds: tuple[Prices, Prices],
    full: float,
) -> tuple[list[Draft], Draft | None]:
    """Put at most `limit` drafts on the cache, while each is expected to save more than it costs.

    Args:
        bounds: prices of the pass that decides over them, if it goes no deeper than it must, and if it goes to the last layer.
        full: what full depth would spend on the next token.
    Returns:
        The drafts, and the token of an exit that was too unsure of it: what verification says of that is learned.
    """
    drafts: list[Draft] = []
    prices, most = bounds
    chance, lost = 1.0, 0.0  # that all of them are right, and what they cost if none is
    start = len(cache) - 1
    # As many positions: of all but one of them, the last layer makes keys and values alone.
    waiting = math.ceil(cache.pending(start, prices.layers) / prices.layers)
    while len(drafts) < limit and not (drafts and ends(drafts[-1].token)):
        guess = None
        if price_book.lookup is not None:
            guess = price_book.lookup.guess(cache.tokens[-LENGTHS[0] :], required)
        rows = waiting + len(drafts)
        price, risk = prices.row(rows), most.row(rows)
        if guess is not None and not price_book.affords(lost + risk, full):
            guess = None
        saving = prices.gain(chance * guess.rate.chance, price) if guess is not None else 0.0
        gains = price_book.worth_asking(policy, chance, rows)
        exits = {
            d: g for d, g in gains.items() if price_book.affords(lost + price_book.look_price(d, rows), full)
        }
        if exits and max(exits.values()) > saving:
            guess = _from_exit(cache, policy, chooser, required, effort, price_book, list(exits), start)
            if guess is None:
                break  # the position is at full depth: its token costs a head, and the next pass drafts anew
            risk = price_book.look_price(guess.depth, rows)
            if prices.gain(chance * guess.rate.chance, price_book.exit_price(guess.depth, rows)) <= 0:
                return drafts, guess
        elif guess is None or saving <= 0:
            break
        drafts.append(guess)
        chance, lost = chance * guess.rate.chance, lost + risk
        required = chooser.left(required, guess.token)
        cache.append([guess.token])
    return drafts, None


def _from_exit(
    cache: KVCache,
    policy: Policy,
    chooser: Chooser,
    required: bytes,
    effort: Effort,
    price_book: PriceBook,
    exits: Sequence[int],
    start: int,
) -> Draft | None:
    """The token of the exit at which the policy stops; None where it goes on to full depth.

    Positions from `start` on go there with it: they will be decided by the last layer.
    """
    heads = effort.heads
    view = climb(cache, policy, effort, exits, start)
    for depth in exits:
        if depth <= view.depth:
            price_book.record(depth).stops.observe(depth == view.depth)
        if depth < view.depth:
            price_book.record(depth).reads.observe(effort.heads > heads)
    if view.depth == cache.decoder.config.layers:
        return None
    token = chooser.choose(view, required)
    effort.count_head()
    if view.scored:
        effort.count_head()  # of the tokens that are allowed
    confidence = view.top.probability if token == view.top.token else 0.0
    return Draft(token, view.depth, price_book.record(view.depth).top_tokens(confidence))


def climb(
    cache: KVCache,
    policy: Policy,
    effort: Effort,
    exits: Sequence[int] | None = None,
    wanted: int | None = None,
) -> View:
    """Raise the last position from exit to exit until the policy stops, at full depth at the latest.

    `exits`: those of the policy's at which it is asked; by default all. `wanted`: see `KVCache.advance`; by default the last
    position alone. Counts the heads that the policy looked at on its way, not the one of the view that is returned.
    """
    position, layers = len(cache) - 1, cache.decoder.config.layers
    wanted = position if wanted is None else wanted
    for depth in policy.exits if exits is None else exits:
        cache.advance(position, depth, wanted)
        view = View(cache, position, depth, cache.pending(position, layers))
        stop = policy.stop(view)
        effort.decisions += policy.network_runs
        if stop:
            return view
        if view.looked:
            effort.count_head()
    cache.advance(position, layers, wanted)
    return View(cache, position, layers, 0)
