"""Whether a draft pays: prices of forward passes, acceptance rates of exits, and what drafting has cost the session so far.

A draft is taken while

    P(all drafts so far are accepted) × its own rate × (price of a forward pass)  >  what it adds to the verification

since an accepted draft saves such a pass, and while the session can afford its rejection: over a session, rejected drafts may
cost at most `MAX_LOSS` of what full depth would spend. Where exits decide the tokens, the pass ends at the first exit; a token
that goes deeper makes a rejected draft dearer and an accepted one worth more. A draft changes no token, only joules.

Must not know: energy (prices are given), sources of drafts, text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from green_code.decoding.draft import PRIOR_WEIGHT, AcceptanceRate
from green_code.decoding.exit_policies import Policy
from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import SMALL_BATCH
from green_code.work import Prices, Work

MAX_LOSS = 0.02  # of what full depth would have spent in the session
CONFIDENCES = (0.3, 0.5, 0.7, 0.9)  # bounds of the classes of an exit's confidence in its token
# By class, measured by `green-code experiments drafts` at exit 13 of 18, the default bundle's: acceptance rate, frequency.
_EXIT_PRIORS = (0.62, 0.81, 0.92, 0.99, 0.999)
_EXIT_SHARES = (0.19, 0.15, 0.13, 0.17, 0.36)
_EXIT_RATE_PRIOR = 0.5  # how often a policy exits where it decides


@dataclass(frozen=True)
class PassPrice:
    """The price of a forward pass.

    Args:
        prices: per unit of work. layers: how many the pass runs. heads: how often the head runs, at its end included.
        decisions: runs of the exit classifier on the way.
    """

    prices: Prices
    layers: int
    heads: int = 1
    decisions: int = 0

    def row(self, before: int) -> float:
        """One more position in a pass that has `before` others."""
        position = self.prices.small_batch_position if before < SMALL_BATCH else self.prices.layer_position
        per_exit = self.heads * self.prices.head_position + self.decisions * self.prices.decision
        return self.layers * position + per_exit

    @cached_property
    def whole(self) -> float:
        """A pass over one position: what an accepted draft saves."""
        return self.layers * self.prices.layer_batch + self.heads * self.prices.head_batch + self.row(0)

    def gain(self, chance: float, price: float) -> float:
        """Expected saving of a draft that is accepted with `chance` and adds `price`."""
        return chance * self.whole - price

    def with_pending(self, pending: int) -> float:
        """A pass to full depth over one position that also fills `pending` layer × position evaluations."""
        # Of several positions, the last layer runs over one.
        small = min(pending, SMALL_BATCH * (self.layers - 1) + 1)
        return (
            self.whole
            + (small - self.layers) * self.prices.small_batch_position
            + (pending - small) * self.prices.layer_position
        )


@dataclass
class ExitRecord:
    """What is known of one exit: how often the policy exits there, which confidences occur, how often they are accepted.

    `reads`: how often the policy runs the head before it goes deeper: the agent and the rule `confidence` do.
    """

    exits: AcceptanceRate = field(default_factory=lambda: AcceptanceRate.prior(_EXIT_RATE_PRIOR))
    reads: AcceptanceRate = field(default_factory=lambda: AcceptanceRate.prior(0, 1))
    counts: list[float] = field(default_factory=lambda: [share * PRIOR_WEIGHT for share in _EXIT_SHARES])
    rates: list[AcceptanceRate] = field(
        default_factory=lambda: [AcceptanceRate.prior(chance) for chance in _EXIT_PRIORS]
    )

    def rate_of(self, confidence: float) -> AcceptanceRate:
        """The acceptance rate of tokens with this confidence; counts that one occurred."""
        kind = sum(confidence >= bound for bound in CONFIDENCES)
        self.counts[kind] += 1
        return self.rates[kind]

    def classes(self) -> Iterator[tuple[float, float]]:
        """(frequency, acceptance rate) of each class of confidence."""
        total = sum(self.counts)
        return ((count / total, rate.chance) for count, rate in zip(self.counts, self.rates, strict=True))


class PriceBook:
    """Prices and observations of one session.

    Args:
        prices: per unit of work; keys and values alone count nothing here, as full depth makes them, too.
        layers: L. max_loss: how far the session may come out above full depth, as a share of that.
    """

    def __init__(self, prices: Prices, layers: int, max_loss: float = MAX_LOSS) -> None:
        self.prices = replace(prices, kv_only=0.0)
        self.layers, self.max_loss = layers, max_loss
        self.full_pass = PassPrice(self.prices, layers)
        self.records: dict[int, ExitRecord] = {}
        self.rounds = 0
        # Of this session so far, and of full depth for the same tokens. What exits save is not counted.
        self.spent = self.full_depth = 0.0

    def use(self, prices: Prices) -> None:
        """Count at these prices from now on, as where assumed ones were measured; what was observed stays."""
        if (prices := replace(prices, kv_only=0.0)) == self.prices:
            return
        before, self.prices, self.full_pass = self.full_pass.whole, prices, PassPrice(prices, self.layers)
        ratio = self.full_pass.whole / before if before else 1.0
        self.spent, self.full_depth = self.spent * ratio, self.full_depth * ratio

    def pass_to(self, depth: int, policy: Policy) -> PassPrice:
        """A pass that ends at `depth`, where the policy reads the head and decides at each exit on the way."""
        exits = sum(exit <= depth for exit in policy.exits)
        return PassPrice(self.prices, depth, exits + (depth == self.layers), exits * policy.classifier_runs)

    def affords(self, price: float, full_depth: float) -> bool:
        """Whether losing `price` stays within bounds; `full_depth`: what full depth would spend on the next token."""
        return self.spent + price - self.full_depth <= self.max_loss * (self.full_depth + full_depth)

    def exit_price(self, depth: int, before: int) -> float:
        """What a draft of the exit at `depth` adds once its head has run: the next position's own way to that exit.

        Args:
            before: how many positions the verification has without it.
        """
        return depth * self.prices.layer_batch + self.full_pass.row(before)

    def exit_cost(self, depth: int, before: int) -> float:
        """What an exit's draft costs in all, its head included."""
        return self.exit_price(depth, before) + self.prices.head_batch + self.prices.head_position

    def exit_gain(self, depth: int, chance: float, before: int) -> float:
        """Expected saving of running the head at the exit, when the drafts so far are accepted with `chance`."""
        price = self.exit_price(depth, before)
        expected = sum(
            share * max(0.0, self.full_pass.gain(chance * rate, price)) for share, rate in self.record(depth).classes()
        )
        return expected - self.prices.head_batch - self.prices.head_position

    def paying_exits(self, policy: Policy, chance: float, before: int) -> dict[int, float]:
        """The exits at which a draft is expected to save something, with how much."""
        gains = {}
        head = self.prices.head_batch + self.prices.head_position
        for depth in policy.exits:
            record = self.record(depth)
            exits = record.exits.chance
            deciding = policy.classifier_runs * self.prices.decision + (1 - exits) * record.reads.chance * head
            if (gain := exits * self.exit_gain(depth, chance, before) - deciding) > 0:
                gains[depth] = gain
        return gains

    def record(self, depth: int) -> ExitRecord:
        if depth not in self.records:
            self.records[depth] = ExitRecord()
        return self.records[depth]


class RoundObserver:
    """Observes rounds of draft, verify and accept for the price book: what they spend, and what full depth would.

    Where the last layer decides the tokens, what is spent is the work that was done. Where exits decide, it is the rejected
    drafts alone.

    Args:
        policy: who decides the tokens.
    """

    def __init__(self, book: PriceBook, cache: KVCache, policy: Policy) -> None:
        self._book, self._cache = book, cache
        lowest = min((*policy.exits, book.layers))
        self._passes = {depth: book.pass_to(depth, policy) for depth in range(lowest, book.layers + 1)}
        self.shallowest, self.deepest = self._passes[lowest], self._passes[book.layers]
        self._exits_decide = lowest < book.layers
        self._before = Work()
        self._start = 0
        self.full_price = 0.0
        """What full depth would spend on the first token of this round."""

    def begin(self) -> None:
        """A round begins behind the cache's last position."""
        cache, layers = self._cache, self._book.layers
        self._start, self._before = len(cache) - 1, cache.work.copy()
        if self._exits_decide:  # full depth's cache would lack only the positions that no layer has run over
            pending = (layers - 1) * cache.pending(self._start, 1) + 1
        else:
            pending = cache.pending(self._start, layers)
        self.full_price = self._book.full_pass.with_pending(pending)

    def end(self, interrupted: bool) -> None:
        """The drafts are verified and still in the cache; `interrupted`: by what full depth would have been interrupted by."""
        if self._exits_decide:
            depths = (self._cache.depth(i) for i in range(self._start + 1, len(self._cache)))
            done = sum(self._passes[depth].row(0) for depth in depths if depth in self._passes)
        else:
            done = self._book.prices.of(self._cache.work - self._before)
        self._book.spent += done
        if interrupted:
            self._book.full_depth += done  # no loss is counted
        else:
            self._book.rounds += 1

    def take(self, index: int, depth: int) -> None:
        """Token `index` of the round, decoded at `depth`, is taken; full depth would not run for unused tokens."""
        whole = self._book.full_pass.whole if index else self.full_price
        self._book.full_depth += whole
        if self._exits_decide:
            self._book.spent += whole - (self._passes[depth].whole if index else 0.0)
