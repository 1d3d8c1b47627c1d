"""A small model, sources of drafts that guess as a test says, and what they come to."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import torch

from green_code.decoding.draft import AcceptanceRate, Draft
from green_code.decoding.effort import Effort
from green_code.decoding.exit_policies import Confidence, Fixed, Full, Policy, View
from green_code.decoding.generate import exact, fast
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import PriceBook, Prices
from green_code.decoding.prompt_lookup import PromptLookup
from green_code.models.adapters import LinearAdapter
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
from tests.models.references import tiny

DECODER = tiny()
_NOISE = torch.randn(
    2, DECODER.config.width, DECODER.config.width, generator=torch.Generator().manual_seed(0)
)
DECODER.set_lenses({  # some exits have a lens
    depth: LinearAdapter(noise / DECODER.config.width**0.5, torch.ones(DECODER.config.width))
    for depth, noise in zip((3, 4), _NOISE, strict=True)
})  # fmt: skip
VOCABULARY = Vocabulary(*TinySource().vocabulary(None))
CHOOSER = Chooser(VOCABULARY)


@dataclass
class Scripted:
    """Answers in turn, whatever it sees."""

    answers: itertools.cycle[bool]
    exits: tuple[int, ...] = (2, 3, 5)
    seen: list[View] = field(default_factory=list)
    network_runs: int = 1

    def stop(self, view: View) -> bool:
        self.seen.append(view)
        return next(self.answers)


LAYERS = DECODER.config.layers
CHEAP = Prices(LAYERS, run=1.0, few=0.005, evaluation=0.01, head=0.02, head_row=0.01)


class Guesses(PromptLookup):
    """Guesses as a test says, by the context; each is held to be right with `chance`, for ever."""

    def __init__(self, guess: Callable[[Sequence[int]], int | None], chance: float = 0.9) -> None:
        super().__init__(VOCABULARY, LAYERS)
        self.say, self.rate = guess, AcceptanceRate.prior(chance, 1e9)

    def guess(self, context: Sequence[int], required: bytes) -> Draft | None:
        token = self.say(context)
        return None if token is None else Draft(token, LAYERS, self.rate)


class Generous(Prices):
    """Every guess is expected to pay."""

    def gain(self, chance: float, price: float) -> float:
        return 1.0


class EagerDrafter(PriceBook):
    """Takes every draft that it is offered, and asks at every exit."""

    def __init__(self, prices: Prices, lookup: PromptLookup | None) -> None:
        super().__init__(Generous(**asdict(prices)), lookup)

    def affords(self, price: float, full: float) -> bool:
        return True

    def exit_gain(self, depth: int, chance: float, before: int) -> float:
        return 0.5  # text comes first

    def worth_asking(self, policy: Policy, chance: float, before: int) -> dict[int, float]:
        return dict.fromkeys(policy.exits, 0.5)


def stream_tokens(
    policy: Policy,
    verify: bool,
    prompt: list[int],
    count: int,
    required: bytes = b"",
    price_book: PriceBook | None = None,
) -> list[int]:
    cache = KVCache(DECODER)
    cache.append(prompt)
    if verify:
        price_book = price_book or EagerDrafter(CHEAP, None)
        if price_book.lookup is not None:
            price_book.lookup.document.follow(prompt)
        stream = exact(cache, policy, CHOOSER, required, Effort(), price_book=price_book)
    else:
        stream = fast(cache, policy, CHOOSER, required, Effort())
    tokens = [token for token, _ in itertools.islice(stream, count)]
    if price_book is not None and price_book.lookup is not None:
        assert price_book.lookup.document.tokens[: len(prompt) + count] == [*prompt, *tokens]
    return tokens


POLICIES = {
    "never": lambda: Scripted(itertools.cycle([False])),
    "always": lambda: Scripted(itertools.cycle([True])),
    "in turn": lambda: Scripted(itertools.cycle([True, False, False])),
    "at random": lambda: Scripted(itertools.cycle(random.Random(1).choices([True, False], k=97))),
    "fixed": lambda: Fixed((4,)),
    "confident": lambda: Confidence((2, 4), 0.05),
}
NONE, END, WORDS = None, 0, len(VOCABULARY)
TEXTS: dict[str, Callable[[], PromptLookup | None]] = {
    "no text": lambda: None,
    "the document": lambda: PromptLookup(VOCABULARY, LAYERS),
    "wrong": lambda: Guesses(lambda context: (context[-1] * 7 + 3) % WORDS),
    "the end of the text": lambda: Guesses(lambda _: END),
    "repeated": lambda: Guesses(lambda context: context[-1]),
    "at times": lambda: Guesses(lambda context: context[-1] if sum(context) % 3 else NONE),
}


def doubled(seed: int) -> list[int]:
    """A prompt that says the same twice, so that it has something to offer."""
    return random.Random(seed).choices(range(2, WORDS), k=4 + 14 * seed) * 2


@functools.cache
def full_depth(seed: int, required: bytes) -> list[int]:
    return stream_tokens(Full(), False, doubled(seed), 30, required)


def always_right(prompt: Sequence[int], expected: Sequence[int]) -> Callable[[Sequence[int]], int | None]:
    """Knows what follows. Where a context comes twice, the answer for the later one is given."""
    whole = [*prompt, *expected]
    known = {tuple(whole[max(0, i - 8) : i]): whole[i] for i in range(len(prompt), len(whole))}
    return lambda context: known.get(tuple(context))


PRICES = Prices(LAYERS, run=1.0, few=0.1, evaluation=0.1, head=0.5, head_row=0.1)


def price_of(cache: KVCache, effort: Effort) -> float:
    """By hand what `PRICES` say."""
    return cache.runs + 0.1 * cache.evaluations + 0.5 * effort.heads + 0.1 * effort.head_rows
