"""Whether a draft's verification pays: prices, what is known of exits, and the sums over both.

Two sources. *Text*: what followed the last tokens elsewhere (lookup.py). *Exits*: the token of an early exit's head, by
how much of the probability it has. A guess is taken while

    chance of all guesses so far × its own × (price of a pass)  >  what it adds to the verification

since each right one saves such a pass, and while the session can afford that it is wrong: over a session they may lose no
more than `MOST_LOSS` of what full depth would spend. Where exits decide, the pass is one to the first of them; if a token
goes deeper, a wrong guess costs more and a right one saves more. Nothing here decides a token: a wrong guess costs joules,
never quality. Priors are measured as lookup.py says.

Must not know: energy (it is given prices), caches, text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from green_code.decoding.draft import WEIGHT, AcceptanceRate
from green_code.decoding.exit_policies import Policy
from green_code.decoding.prompt_lookup import PromptLookup
from green_code.models.backend import SMALL_BATCH

MAX_DRAFTS = 16  # in one verification; the prices are measured on batches of about this size
MOST_LOSS = 0.02  # of what full depth would have spent in the session
CONFIDENCES = (0.3, 0.5, 0.7, 0.9)  # bounds of the classes of an exit's confidence in its token
# A class's chance to be right, and how often it comes up: at exit 13 of 18, which the default bundle decides at.
_EXIT_PRIORS = (0.62, 0.81, 0.92, 0.99, 0.999)
_EXIT_SHARES = (0.19, 0.15, 0.13, 0.17, 0.36)
_STOP_PRIOR = 0.5  # how often a policy stops where it is asked


@dataclass(frozen=True)
class Prices:
    """What is paid for, all in one unit (joules in service).

    `run` for reading a layer's weights, `few` for each of the first few positions in it, `evaluation` for each further
    one; `head`, `head_row` the same of the head; `decision` for one run of the exit classifier.
    """

    layers: int
    run: float
    few: float = 0.0
    evaluation: float = 0.0
    head: float = 0.0
    head_row: float = 0.0
    decision: float = 0.0

    def row(self, before: int) -> float:
        """One more position in a verification that has `before` others."""
        return self.layers * (self.few if before < SMALL_BATCH else self.evaluation) + self.head_row

    @cached_property
    def whole(self) -> float:
        """A pass over one position: what a right guess saves."""
        return self.layers * self.run + self.head + self.row(0)

    def up_to(self, depth: int, policy: Policy) -> Prices:
        """The same for a pass that ends at `depth`, where the policy is asked at each exit that comes before, and looks at the head."""
        exits = sum(exit <= depth for exit in policy.exits)
        heads = exits + (depth == self.layers)
        row = heads * self.head_row + exits * policy.network_runs * self.decision
        return replace(self, layers=depth, head=heads * self.head, head_row=row)

    def gain(self, chance: float, price: float) -> float:
        """Expected saving of a guess that, with all before it, is right with `chance`."""
        return chance * self.whole - price

    def first(self, pending: int) -> float:
        """A pass that takes along what waits: `pending` layer × position evaluations in all."""
        few = min(
            pending, SMALL_BATCH * (self.layers - 1) + 1
        )  # of a pass over several, the last layer is run over one
        return self.whole + (few - self.layers) * self.few + (pending - few) * self.evaluation


@dataclass
class ExitRecord:
    """What is known of one exit: how often the policy stops there, which confidences come up, how right they are.

    `reads`: how often the policy runs the head to decide that it goes on: the agent and the rule `confidence` do.
    """

    stops: AcceptanceRate = field(default_factory=lambda: AcceptanceRate.prior(_STOP_PRIOR))
    reads: AcceptanceRate = field(default_factory=lambda: AcceptanceRate.prior(0, 1))
    seen: list[float] = field(default_factory=lambda: [share * WEIGHT for share in _EXIT_SHARES])
    rates: list[AcceptanceRate] = field(
        default_factory=lambda: [AcceptanceRate.prior(chance) for chance in _EXIT_PRIORS]
    )

    def top_tokens(self, confidence: float) -> AcceptanceRate:
        """The rate that judges a token in which the exit has this confidence; counts that it came up."""
        kind = sum(confidence >= bound for bound in CONFIDENCES)
        self.seen[kind] += 1
        return self.rates[kind]

    def shares(self) -> Iterator[tuple[float, float]]:
        """(how often, how right) of each class of confidence."""
        total = sum(self.seen)
        return ((seen / total, rate.chance) for seen, rate in zip(self.seen, self.rates, strict=True))


class PriceBook:
    """A session's sources of drafts, and the sums that decide which are taken.

    Args:
        lookup: None: exits alone, for experiments.
        most_loss: how far the session may come out above full depth, as a share of that.
    """

    def __init__(self, prices: Prices, lookup: PromptLookup | None, most_loss: float = MOST_LOSS) -> None:
        self.prices, self.lookup, self.most_loss = prices, lookup, most_loss
        self.exits: dict[int, ExitRecord] = {}
        self.verifications = 0  # by the last layer or by exits
        # By this session so far, and by full depth for the same tokens. Where exits decide, what they save is not in it.
        self.spent = self.full = 0.0

    def follow(self, given: Sequence[tuple[int, int]]) -> None:
        """Look also into (token, depth) that were just given."""
        if self.lookup is not None:
            self.lookup.document.extend([token for token, _ in given])

    def affords(self, price: float, full: float) -> bool:
        """Whether a loss of `price` stays within bounds; `full`: what full depth would spend on the next token."""
        return self.spent + price - self.full <= self.most_loss * (self.full + full)

    def exit_price(self, depth: int, before: int) -> float:
        """What a draft of the exit at `depth` adds once its head was run: the next position's own way up to there.

        Args:
            before: how many positions the verification has without it.
        """
        return depth * self.prices.run + self.prices.row(before)

    def look_price(self, depth: int, before: int) -> float:
        """What an exit's draft costs in all, its head included."""
        return self.exit_price(depth, before) + self.prices.head + self.prices.head_row

    def exit_gain(self, depth: int, chance: float, before: int) -> float:
        """Expected saving of running the head at the exit, when the guesses so far are right with `chance`."""
        record, price = self.record(depth), self.exit_price(depth, before)
        expected = sum(
            often * max(0.0, self.prices.gain(chance * right, price)) for often, right in record.shares()
        )
        return expected - self.prices.head - self.prices.head_row

    def worth_asking(self, policy: Policy, chance: float, before: int) -> dict[int, float]:
        """The exits at which to ask the policy for a draft, with what that is expected to save."""
        gains = {}
        for depth in policy.exits:
            record = self.record(depth)
            stops, head = record.stops.chance, self.prices.head + self.prices.head_row
            asking = policy.network_runs * self.prices.decision + (1 - stops) * record.reads.chance * head
            if (gain := stops * self.exit_gain(depth, chance, before) - asking) > 0:
                gains[depth] = gain
        return gains

    def record(self, depth: int) -> ExitRecord:
        if depth not in self.exits:
            self.exits[depth] = ExitRecord()
        return self.exits[depth]
