"""Drafts from prompt lookup and from early exits, the better at each place, appended to the cache while one pays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from green_code.decoding.draft import Draft
from green_code.decoding.exit_policies import ExitView, Full, Policy
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import PriceBook, RoundObserver
from green_code.decoding.prompt_lookup import LENGTHS, PromptLookup
from green_code.work import Prices

MAX_DRAFTS = 15
"""In one verification, which has one row more: 16 rows are a GPU's largest graph, and whole groups of the CPU kernel's four."""


class Drafter:
    """Drafts for one completion.

    Args:
        book: decides whether a draft pays. lookup: None: exits alone draft. policy: decides at which exits to draft; `Full`: none.
        ends: whether a token ends the completion; nothing is drafted behind it.
    """

    def __init__(
        self,
        book: PriceBook,
        lookup: PromptLookup | None,
        policy: Policy,
        chooser: Chooser,
        ends: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self.book, self.lookup, self.policy = book, lookup, policy
        self._chooser, self._ends = chooser, ends

    @classmethod
    def without_drafts(cls, layers: int, chooser: Chooser) -> Drafter:
        """A drafter without sources: the verifier decodes one token at a time."""
        return cls(PriceBook(Prices(), layers), None, Full(), chooser)

    def draft(
        self, cache: KVCache, observer: RoundObserver, required: bytes, limit: int
    ) -> tuple[list[Draft], Draft | None]:
        """Append at most `limit` drafts to the cache, each expected to save more than it costs.

        Args:
            observer: begun. required: bytes that the first tokens must spell.
        Returns:
            The drafts, and the token of an exit whose confidence was too low; verification updates its rate.
        """
        drafts: list[Draft] = []
        chance, lost = 1.0, 0.0  # that all are accepted, and what they cost if none is
        start, layers = len(cache) - 1, observer.shallowest.layers
        # As many positions: the last layer of all runs over one of them.
        waiting = math.ceil(cache.pending(start, layers) / layers)
        while len(drafts) < limit and not (drafts and self._ends(drafts[-1].token)):
            draft = None
            if self.lookup is not None:
                # A list: CPython keeps thousands of dropped tuples, for each length, to use them again.
                behind = [*self.lookup.document.ending(LENGTHS[0]), *(draft.token for draft in drafts)]
                draft = self.lookup.draft(behind[-LENGTHS[0] :], required)
            rows = waiting + len(drafts)
            price, risk = observer.shallowest.row(rows), observer.deepest.row(rows)
            if draft is not None and not self.book.affords(lost + risk, observer.full_price):
                draft = None
            saving = observer.shallowest.gain(chance * draft.rate.chance, price) if draft is not None else 0.0
            exits = {
                depth: gain
                for depth, gain in self.book.paying_exits(self.policy, chance, rows).items()
                if depth >= cache.depth(len(cache) - 1)  # the prompt's last position may be deeper
                and self.book.affords(lost + self.book.exit_cost(depth, rows), observer.full_price)
            }
            if exits and max(exits.values()) > saving:
                draft = self._from_exit(cache, required, list(exits), start)
                if draft is None:
                    break  # the position is at full depth: verification needs only the head
                risk = self.book.exit_cost(draft.depth, rows)
                price = self.book.exit_price(draft.depth, rows)
                if observer.shallowest.gain(chance * draft.rate.chance, price) <= 0:
                    self._drop_position_after_end(cache, drafts)
                    return drafts, draft
            elif draft is None or saving <= 0:
                break
            drafts.append(draft)
            chance, lost = chance * draft.rate.chance, lost + risk
            required = self._chooser.left(required, draft.token)
            cache.append([draft.token])
        self._drop_position_after_end(cache, drafts)
        return drafts, None

    def _drop_position_after_end(self, cache: KVCache, drafts: Sequence[Draft]) -> None:
        """Nothing after the end of the completion needs verifying."""
        if drafts and self._ends(drafts[-1].token):
            cache.truncate(len(cache) - 1)

    def _from_exit(self, cache: KVCache, required: bytes, exits: Sequence[int], start: int) -> Draft | None:
        """The token of the exit that the policy takes; None where it goes on to full depth.

        Positions from `start` on go there with it: the last layer will decide them.
        """
        view, reads = advance_by_policy(cache, self.policy, exits, start)
        for depth in exits:
            record = self.book.record(depth)
            if depth <= view.depth:
                record.exits.observe(depth == view.depth)
            if depth < view.depth:
                record.reads.observe(reads > 0)
        if view.depth == self.book.layers:
            return None
        top = self._chooser.choose(view, required)
        return Draft(top.token, view.depth, self.book.record(view.depth).rate_of(top.probability), "exit")


def advance_by_policy(
    cache: KVCache, policy: Policy, exits: Sequence[int] | None = None, first_output: int | None = None
) -> tuple[ExitView, int]:
    """Advance the last position from exit to exit until the policy exits, at full depth at the latest.

    Args:
        exits: those of the policy's at which it decides; by default all. first_output: see `KVCache.advance`; by default the
            last position.
    Returns:
        The view at the depth that was reached, and at how many exits before it the policy read the head.
    """
    position, layers, reads = len(cache) - 1, cache.decoder.config.layers, 0
    first_output = position if first_output is None else first_output
    for depth in policy.exits if exits is None else exits:
        cache.advance(position, depth, first_output)
        view = ExitView(cache, position, depth, cache.pending(position, layers))
        cache.work.decisions += policy.classifier_runs
        if policy.should_exit(view):
            return view, reads
        reads += view.has_top
    cache.advance(position, layers, first_output)
    return ExitView(cache, position, layers, 0), reads
