"""A small model, sources of drafts that guess as a test says, and what they come to."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from green_code.decoding.draft import AcceptanceRate, Draft
from green_code.decoding.drafter import Drafter
from green_code.decoding.exit_policies import Confidence, ExitView, Fixed, Full, Policy
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import MAX_LOSS, PassPrice, PriceBook
from green_code.decoding.prompt_lookup import PromptLookup
from green_code.decoding.speculative import decode
from green_code.decoding.verifier import Verifier
from green_code.models.adapters import LinearAdapter
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
from green_code.work import Prices
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
    seen: list[ExitView] = field(default_factory=list)
    classifier_runs: int = 1

    def should_exit(self, view: ExitView) -> bool:
        self.seen.append(view)
        return next(self.answers)


LAYERS = DECODER.config.layers
CHEAP = Prices(1.0, 0.005, 0.01, head_batch=0.02, head_position=0.01)


class Guesses(PromptLookup):
    """Guesses as a test says, by the context; each is held to be right with `chance`, for ever."""

    def __init__(self, guess: Callable[[Sequence[int]], int | None], chance: float = 0.9) -> None:
        super().__init__(VOCABULARY, LAYERS)
        self.say, self.rate = guess, AcceptanceRate.prior(chance, 1e9)

    def draft(self, context: Sequence[int], required: bytes) -> Draft | None:
        token = self.say(context)
        return None if token is None else Draft(token, LAYERS, self.rate)


class EagerBook(PriceBook):
    """Every draft is expected to pay, and every exit may draft."""

    def __init__(self, prices: Prices, layers: int = LAYERS) -> None:
        super().__init__(prices, layers)

    def pass_to(self, depth: int, policy: Policy) -> PassPrice:
        price = super().pass_to(depth, policy)
        return EagerPass(price.prices, price.layers, price.heads, price.decisions)

    def affords(self, price: float, full_depth: float) -> bool:
        return True

    def paying_exits(self, policy: Policy, chance: float, before: int) -> dict[int, float]:
        return dict.fromkeys(policy.exits, 0.5)  # prompt lookup comes first


class EagerPass(PassPrice):
    def gain(self, chance: float, price: float) -> float:
        return 1.0


def book(prices: Prices, max_loss: float = MAX_LOSS) -> PriceBook:
    return PriceBook(prices, LAYERS, max_loss)


def exact(
    cache: KVCache,
    policy: Policy,
    price_book: PriceBook | None = None,
    lookup: PromptLookup | None = None,
    required: bytes = b"",
    ends: Callable[[int], bool] = lambda _: False,
    max_tokens: int | None = None,
) -> Iterator[tuple[int, int]]:
    """Prompt lookup and the policy's exits draft, the last layer verifies."""
    drafter = Drafter(price_book or book(Prices(layer_batch=1.0), math.inf), lookup, policy, CHOOSER, ends)
    return decode(cache, drafter, Verifier(Full(), CHOOSER), CHOOSER, required, max_tokens)


def fast(
    cache: KVCache,
    policy: Policy,
    price_book: PriceBook | None = None,
    lookup: PromptLookup | None = None,
    required: bytes = b"",
    max_tokens: int | None = None,
) -> Iterator[tuple[int, int]]:
    """Prompt lookup drafts, the policy's exits decide."""
    drafter = Drafter(price_book or book(Prices()), lookup, Full(), CHOOSER)
    return decode(cache, drafter, Verifier(policy, CHOOSER), CHOOSER, required, max_tokens)


def cached(prompt: Sequence[int]) -> KVCache:
    cache = KVCache(DECODER)
    cache.append(prompt)
    return cache


def stream_tokens(
    policy: Policy,
    verify: bool,
    prompt: list[int],
    count: int,
    required: bytes = b"",
    price_book: PriceBook | None = None,
    lookup: PromptLookup | None = None,
) -> list[int]:
    cache = cached(prompt)
    if verify:
        if lookup is not None:
            lookup.document.follow(prompt)
        stream = exact(cache, policy, price_book or EagerBook(CHEAP), lookup, required)
    else:
        stream = fast(cache, policy, required=required)
    tokens = [token for token, _ in itertools.islice(stream, count)]
    if lookup is not None:
        assert lookup.document.tokens[: len(prompt) + count] == [*prompt, *tokens]
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


PRICES = Prices(1.0, 0.1, 0.1, head_batch=0.5, head_position=0.1)


def price_of(cache: KVCache) -> float:
    """By hand what `PRICES` say."""
    work = cache.work
    return (
        work.layer_batches + 0.1 * work.layer_positions + 0.5 * work.head_batches + 0.1 * work.head_positions
    )
