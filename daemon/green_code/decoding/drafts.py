"""Drafts for `exact`: which token to guess next, how sure the guess is, and whether its verification pays.

Two sources. *Text*: what followed the last tokens where they stood before (prompt lookup decoding, Saxena 2023,
github.com/apoorvumang/prompt-lookup-decoding), in the document on both sides of the cursor and in what this session
completed lately. *Exits*: the token of an early exit's head, by how much of the probability it has.

A guess is right with a chance that a `Rate` estimates: it starts from a prior and counts what verification finds. A
guess is taken while

    chance of all guesses so far × its own × (price of a pass at full depth)  >  what it adds to the verification

since each right one saves such a pass, and while the session can afford that it is wrong: over a session no more than
`MOST_LOSS` above full depth is spent. `fast` drafts from text alone, where several tokens of the last layer in one batch
are expected to cost less than as many that the policy decides. Nothing here decides a token: a wrong guess costs
joules, never quality.

Priors: `python -m green_code.experiments drafts` measures them, with the default bundle on its corpus' training projects
(8,192 positions; the guess against the last layer's token), never on evaluation rows.

Must not know: energy (it is given prices), staircases, text beyond the tokens' bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from green_code.decoding.exits import Policy
from green_code.decoding.healing import Chooser
from green_code.models.vocabulary import Vocabulary

MAX_DRAFTS = 16  # in one verification; the prices are measured on batches of about this size
MOST_LOSS = 0.02  # of what full depth would have spent in the session
NEAR_TOKENS = 1000  # before the prompt's window, and of the lines after the cursor, that are looked into
_RECENT_TOKENS = 1000  # of completions that are remembered
LENGTHS = (8, 5, 3, 2, 1)  # of the runs of tokens that are looked up, the longest first
_OCCURRENCES = 4  # of a run that are asked what followed
_BREAK = -1  # between two completions; no token
_WEIGHT = 8.0  # observations that a prior counts for


@dataclass(frozen=True)
class Prices:
    """What is paid for, all in one unit (joules in service).

    `run` for reading a layer's weights, `evaluation` for each position in it; `head`, `head_row` the same of the head;
    `decision` for one run of the exit network.
    """

    layers: int
    run: float
    evaluation: float = 0.0
    head: float = 0.0
    head_row: float = 0.0
    decision: float = 0.0

    @property
    def row(self) -> float:
        """One more position in a verification."""
        return self.layers * self.evaluation + self.head_row

    @property
    def whole(self) -> float:
        """A pass at full depth over one position: what a right guess saves."""
        return self.layers * self.run + self.head + self.row

    def first(self, debt: int) -> float:
        """A pass that takes along what waits: `debt` layer × position evaluations in all."""
        return self.whole + (debt - self.layers) * self.evaluation


@dataclass
class Rate:
    """Mean of a Beta distribution: `right` of `asked`, both with the prior's share in them."""

    right: float
    asked: float

    @classmethod
    def prior(cls, chance: float, weight: float = _WEIGHT) -> Rate:
        return cls(chance * weight, weight)

    @property
    def chance(self) -> float:
        return self.right / self.asked

    def learn(self, right: bool) -> None:
        self.right += right
        self.asked += 1


@dataclass(frozen=True)
class Draft:
    """A guessed token, and the rate that judges it. `depth`: of the exit that gave it; L where text gave it."""

    token: int
    depth: int
    rate: Rate


# --- text -------------------------------------------------------------------------------------------------


class NgramIndex:
    """Where each run of 1 … 8 tokens (`LENGTHS`) stood before, in a text that grows and is cut at its end.

    Per length the last place of each run, and per place the one before it with the same run: a token more or less
    costs a step per length, whatever the text's. Runs are known by their hash; if two ever share one, a wrong
    guess is made.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        # Per length: a run's hash → the place of its last token, and a place → that of the same run before, or −1.
        self._last: dict[int, dict[int, int]] = {n: {} for n in LENGTHS}
        self._before: dict[int, list[int]] = {n: [] for n in LENGTHS}

    def __len__(self) -> int:
        return len(self.tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            self.tokens.append(token)
            place = len(self.tokens) - 1
            for n in LENGTHS:
                run = hash(tuple(self.tokens[-n:]))
                self._before[n].append(self._last[n].get(run, -1))
                self._last[n][run] = place

    def truncate(self, length: int) -> None:
        """Forget the tokens from `length` on, and all runs with one of them."""
        while len(self.tokens) > length:
            for n in LENGTHS:
                run, before = hash(tuple(self.tokens[-n:])), self._before[n].pop()
                if before < 0:
                    del self._last[n][run]
                else:
                    self._last[n][run] = before
            self.tokens.pop()

    def follow(self, tokens: Sequence[int]) -> None:
        """Become the index of `tokens`; what both begin with is kept."""
        pairs = enumerate(zip(self.tokens, tokens))  # noqa: B905 - the shorter one ends it
        self.truncate(next((i for i, (a, b) in pairs if a != b), min(len(self), len(tokens))))
        self.extend(tokens[len(self) :])

    def continuations(self, run: Sequence[int]) -> list[int]:
        """What followed the latest occurrences of `run`, whose length is one of `LENGTHS`; the latest first."""
        found: list[int] = []
        place = self._last[len(run)].get(hash(tuple(run)), -1)
        while place >= 0 and len(found) < _OCCURRENCES:
            if place + 1 < len(self.tokens) and self.tokens[place + 1] != _BREAK:
                found.append(self.tokens[place + 1])
            place = self._before[len(run)][place]
        return found


# Chance that the latest continuation is the last layer's token, by the length of the run that was found and by how
# far its occurrences agree; the row's order is that of `_agreement`.
_TEXT_PRIORS = {
    1: (0.17, 0.29, 0.50, 0.80),
    2: (0.27, 0.48, 0.61, 0.85),
    3: (0.27, 0.61, 0.70, 0.90),
    5: (0.40, 0.66, 0.81, 0.96),
    8: (0.45, 0.81, 0.81, 0.93),
}


def _agreement(found: Sequence[int]) -> int:
    """0: the two latest differ; 1: there is but one; 2: the latest two or three agree; 3: all `_OCCURRENCES` do."""
    if len(found) == 1:
        return 1
    if found[0] != found[1]:
        return 0
    return 3 if len(found) == _OCCURRENCES and len(set(found)) == 1 else 2


class Lookup:
    """Guesses from text: the longest run that stood somewhere before, and what followed it there last."""

    def __init__(self, vocabulary: Vocabulary, layers: int) -> None:
        self.document = NgramIndex()  # up to the cursor, and what is generated there
        self.rates = {(n, i): Rate.prior(p) for n, row in _TEXT_PRIORS.items() for i, p in enumerate(row)}
        self._earlier, self._after, self._recent = NgramIndex(), NgramIndex(), NgramIndex()
        self._bytes, self._layers = vocabulary.token_bytes, layers

    def around(self, earlier: Sequence[int], after: Sequence[int]) -> None:
        """Look also into what the window cut off before the prompt, and into the lines after the cursor."""
        self._earlier.follow(earlier[-NEAR_TOKENS:])
        self._after.follow(after[:NEAR_TOKENS])

    def remember(self, context: Sequence[int], tokens: Sequence[int]) -> None:
        """Look also into this completion, which came after `context`."""
        self._recent.extend([_BREAK, *context[-LENGTHS[0] :], *tokens])
        if len(self._recent) > _RECENT_TOKENS:
            kept = self._recent.tokens[-_RECENT_TOKENS // 2 :]
            self._recent = NgramIndex()
            self._recent.extend(kept)

    def guess(self, context: Sequence[int], required: bytes) -> Draft | None:
        """The token after `context`, among those that agree with the bytes still required (healing)."""
        for n in LENGTHS:
            run = context[-n:]
            if len(run) < n:
                continue
            found = [
                token
                for index in (self._recent, self.document, self._earlier, self._after)
                for token in index.continuations(run)
                if not required or self._agrees(token, required)
            ][:_OCCURRENCES]
            if found:
                return Draft(found[0], self._layers, self.rates[n, _agreement(found)])
        return None

    def _agrees(self, token: int, required: bytes) -> bool:
        spelled = self._bytes[token]
        return bool(spelled) and (spelled.startswith(required) or required.startswith(spelled))


# --- exits ------------------------------------------------------------------------------------------------

CONFIDENCES = (0.3, 0.5, 0.7, 0.9)  # bounds of the classes of an exit's confidence in its token
_EXIT_PRIORS = (0.21, 0.54, 0.73, 0.89, 0.99)  # a class's chance to be right: exits 5 and 7 of 18
_EXIT_SHARES = (0.47, 0.14, 0.11, 0.11, 0.17)  # how often a class comes up: the same exits
_STOP_PRIOR = 0.5  # how often a policy stops where it is asked


@dataclass
class ExitRecord:
    """What is known of one exit: how often the policy stops there, which confidences come up, how right they are.

    `reads`: how often the policy runs the head to decide that it goes on; the rule `confidence` does, others never.
    """

    stops: Rate = field(default_factory=lambda: Rate.prior(_STOP_PRIOR))
    reads: Rate = field(default_factory=lambda: Rate.prior(0, 1))
    seen: list[float] = field(default_factory=lambda: [share * _WEIGHT for share in _EXIT_SHARES])
    rates: list[Rate] = field(default_factory=lambda: [Rate.prior(chance) for chance in _EXIT_PRIORS])

    def look(self, confidence: float) -> Rate:
        """The rate that judges a token in which the exit has this confidence; counts that it came up."""
        kind = sum(confidence >= bound for bound in CONFIDENCES)
        self.seen[kind] += 1
        return self.rates[kind]

    def shares(self) -> Iterator[tuple[float, float]]:
        """(how often, how right) of each class of confidence."""
        total = sum(self.seen)
        return ((seen / total, rate.chance) for seen, rate in zip(self.seen, self.rates, strict=True))


class Drafter:
    """A session's sources of drafts, and the sums that decide which are taken.

    Args:
        lookup: None: exits alone, for experiments.
        most_loss: how far the session may come out above full depth, as a share of that.
    """

    def __init__(self, prices: Prices, lookup: Lookup | None, most_loss: float = MOST_LOSS) -> None:
        self.prices, self.lookup, self.most_loss = prices, lookup, most_loss
        self.exits: dict[int, ExitRecord] = {}
        self.verifications = 0
        self.spent = self.full = 0.0  # by this session so far, and by full depth for the same tokens
        self.step = prices.whole  # what a token costs that the policy decides: a running mean

    def follow(self, given: Sequence[tuple[int, int]]) -> None:
        """Look also into (token, depth) that were just given."""
        if self.lookup is not None:
            self.lookup.document.extend([token for token, _ in given])

    def learn_step(self, depth: int, decisions: int) -> None:
        """The policy has decided a token at `depth`. The layers that it left out are owed: some later token pays them."""
        prices = self.prices
        price = depth * prices.run + prices.row + prices.head + decisions * prices.decision
        self.step += (price - self.step) / _WEIGHT

    def from_text(
        self,
        context: Sequence[int],
        required: bytes,
        chooser: Chooser,
        ends: Callable[[int], bool],
        debt: int,
        limit: int,
    ) -> list[Draft]:
        """Drafts behind `context` that are expected to save, against as many tokens that the policy decides.

        Args:
            debt: evaluations until the last position of `context` is at full depth.
        """
        if self.lookup is None:
            return []
        drafts: list[Draft] = []
        run = list(context[-LENGTHS[0] :])
        chance, expected = 1.0, 1.0  # that all are right; how many tokens come of it
        while len(drafts) < min(limit, MAX_DRAFTS) and not (drafts and ends(drafts[-1].token)):
            guess = self.lookup.guess(run[-LENGTHS[0] :], required)
            if guess is None or chance * guess.rate.chance * self.step <= self.prices.row:
                break
            chance *= guess.rate.chance
            expected += chance
            required = chooser.left(required, guess.token)
            drafts.append(guess)
            run.append(guess.token)
        batch = self.prices.first(debt) + len(drafts) * self.prices.row
        return drafts if expected * self.step > batch else []

    def affords(self, price: float, full: float) -> bool:
        """Whether a loss of `price` stays within bounds; `full`: what full depth would spend on the next token."""
        return self.spent + price - self.full <= self.most_loss * (self.full + full)

    def gain(self, chance: float, price: float) -> float:
        """Expected saving of a guess that, with all before it, is right with `chance`."""
        return chance * self.prices.whole - price

    def exit_price(self, depth: int) -> float:
        """What a draft of the exit at `depth` adds once its head was run: the next position's own way up to there."""
        return depth * self.prices.run + self.prices.row

    def look_price(self, depth: int) -> float:
        """What an exit's draft costs in all, its head included."""
        return self.exit_price(depth) + self.prices.head + self.prices.head_row

    def exit_gain(self, depth: int, chance: float) -> float:
        """Expected saving of running the head at the exit, when the guesses so far are right with `chance`."""
        record, price = self.record(depth), self.exit_price(depth)
        expected = sum(often * max(0.0, self.gain(chance * right, price)) for often, right in record.shares())
        return expected - self.prices.head - self.prices.head_row

    def worth_asking(self, policy: Policy, chance: float) -> dict[int, float]:
        """The exits at which to ask the policy for a draft, with what that is expected to save."""
        gains = {}
        for depth in policy.exits:
            record = self.record(depth)
            stops, head = record.stops.chance, self.prices.head + self.prices.head_row
            asking = policy.network_runs * self.prices.decision + (1 - stops) * record.reads.chance * head
            if (gain := stops * self.exit_gain(depth, chance) - asking) > 0:
                gains[depth] = gain
        return gains

    def record(self, depth: int) -> ExitRecord:
        return self.exits.setdefault(depth, ExitRecord())
