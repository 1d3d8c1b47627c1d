"""A small model, policies and prompt lookups that follow a script, and helpers to decode with them."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from green_code.decoding.draft import AcceptanceRate, Draft
from green_code.decoding.drafter import Drafter
from green_code.decoding.exit_policies import Confidence, ExitView, Fixed, Full, Policy
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import MAX_LOSS, PassPrice, PriceBook
from green_code.decoding.prompt_lookup import PromptLookup
from green_code.decoding.speculative import decode
from green_code.decoding.verifier import Decoded, Verifier
from green_code.models.adapters import LinearAdapter
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
from green_code.work import Prices
from tests.models.references import tiny

DECODER = tiny()
_NOISE = torch.randn(2, DECODER.config.width, DECODER.config.width, generator=torch.Generator().manual_seed(0))
DECODER.set_lenses({  # only some of the exits have a lens
    depth: LinearAdapter((noise / DECODER.config.width**0.5).numpy(), np.ones(DECODER.config.width, np.float32))
    for depth, noise in zip((3, 4), _NOISE, strict=True)
})  # fmt: skip
VOCABULARY = Vocabulary(*TinySource().vocabulary(None))
CHOOSER = Chooser(VOCABULARY)
LAYERS = DECODER.config.layers
END_OF_TEXT, TOKENS = 0, len(VOCABULARY)
NEW_TOKENS = 10

CHEAP = Prices(1.0, 0.005, 0.01, head_batch=0.02, head_position=0.01)
PRICES = Prices(1.0, 0.1, 0.1, head_batch=0.5, head_position=0.1)

Guess = Callable[[Sequence[int]], int | None]
"""Context → the next token, or None: no draft."""


def price_by_hand(cache: KVCache) -> float:
    """The price of a cache's work at `PRICES`."""
    work = cache.work
    return work.layer_batches + 0.1 * work.layer_positions + 0.5 * work.head_batches + 0.1 * work.head_positions


@dataclass
class ScriptedPolicy:
    """Gives its answers in turn, whatever the view; `views` records what it was given."""

    answers: itertools.cycle[bool]
    exits: tuple[int, ...] = (2, 3, 5)
    views: list[ExitView] = field(default_factory=list)
    classifier_runs: int = 1

    def should_exit(self, view: ExitView) -> bool:
        self.views.append(view)
        return next(self.answers)


class ScriptedLookup(PromptLookup):
    """Drafts `guess(context)`; `chance` is the constant acceptance rate that it reports."""

    def __init__(self, guess: Guess, chance: float = 0.9) -> None:
        super().__init__(VOCABULARY, LAYERS)
        self.guess, self.rate = guess, AcceptanceRate.prior(chance, 1e9)

    def draft(self, context: Sequence[int], required: bytes) -> Draft | None:
        token = self.guess(context)
        return None if token is None else Draft(token, LAYERS, self.rate, "prompt_lookup")


class EagerPriceBook(PriceBook):
    """Expects every draft to pay, and lets every exit draft."""

    def __init__(self, prices: Prices, layers: int = LAYERS) -> None:
        super().__init__(prices, layers)

    def pass_to(self, depth: int, policy: Policy) -> PassPrice:
        price = super().pass_to(depth, policy)
        return EagerPassPrice(price.prices, price.layers, price.heads, price.decisions)

    def affords(self, price: float, full_depth: float) -> bool:
        return True

    def paying_exits(self, policy: Policy, chance: float, before: int) -> dict[int, float]:
        return dict.fromkeys(policy.exits, 0.5)  # less than the gain of prompt lookup, which comes first


class EagerPassPrice(PassPrice):
    def gain(self, chance: float, price: float) -> float:
        return 1.0


def new_price_book(prices: Prices, max_loss: float = MAX_LOSS) -> PriceBook:
    return PriceBook(prices, LAYERS, max_loss)


def new_cache(prompt: Sequence[int]) -> KVCache:
    cache = KVCache(DECODER)
    cache.append(prompt)
    return cache


def exact(
    cache: KVCache,
    policy: Policy,
    price_book: PriceBook | None = None,
    lookup: PromptLookup | None = None,
    required: bytes = b"",
    ends: Callable[[int], bool] = lambda _: False,
    max_tokens: int | None = None,
) -> Iterator[Decoded]:
    """Prompt lookup and the policy's exits draft, the last layer verifies."""
    book = price_book or new_price_book(Prices(layer_batch=1.0), math.inf)
    if lookup is not None:
        lookup.document.follow(cache.tokens)
    drafter = Drafter(book, lookup, policy, CHOOSER, ends)
    return decode(cache, drafter, Verifier(Full(), CHOOSER), required, max_tokens)


def fast(
    cache: KVCache,
    policy: Policy,
    price_book: PriceBook | None = None,
    lookup: PromptLookup | None = None,
    required: bytes = b"",
    max_tokens: int | None = None,
) -> Iterator[Decoded]:
    """Prompt lookup drafts, the policy's exits verify."""
    if lookup is not None:
        lookup.document.follow(cache.tokens)
    drafter = Drafter(price_book or new_price_book(Prices()), lookup, Full(), CHOOSER)
    return decode(cache, drafter, Verifier(policy, CHOOSER), required, max_tokens)


def exact_tokens(
    policy: Policy,
    prompt: list[int],
    count: int,
    required: bytes = b"",
    price_book: PriceBook | None = None,
    lookup: PromptLookup | None = None,
) -> list[int]:
    """The first `count` tokens that `exact` gives behind a prompt."""
    stream = exact(new_cache(prompt), policy, price_book or EagerPriceBook(CHEAP), lookup, required)
    tokens = [each.token for each in itertools.islice(stream, count)]
    if lookup is not None:
        assert lookup.document.tokens[: len(prompt) + count] == [*prompt, *tokens]
    return tokens


def full_depth_tokens(prompt: list[int], count: int, required: bytes = b"") -> list[int]:
    """The first `count` tokens of the last layer behind a prompt, without drafts."""
    return [each.token for each in itertools.islice(fast(new_cache(prompt), Full(), required=required), count)]


def repeated_prompt(seed: int) -> list[int]:
    """Random tokens twice over, so that prompt lookup finds something to draft."""
    return random.Random(seed).choices(range(2, TOKENS), k=4 + 14 * seed) * 2


@functools.cache
def expected_tokens(seed: int, required: bytes = b"") -> list[int]:
    """`NEW_TOKENS` tokens of full depth behind `repeated_prompt(seed)`."""
    return full_depth_tokens(repeated_prompt(seed), NEW_TOKENS, required)


def correct_guess(prompt: Sequence[int], expected: Sequence[int]) -> Guess:
    """Guesses the token in `expected` by the last eight before it. Where these occur twice, it guesses what follows later."""
    text = [*prompt, *expected]
    known = {tuple(text[max(0, i - 8) : i]): text[i] for i in range(len(prompt), len(text))}
    return lambda context: known.get(tuple(context))


POLICIES: dict[str, Callable[[], Policy]] = {
    "never": lambda: ScriptedPolicy(itertools.cycle([False])),
    "always": lambda: ScriptedPolicy(itertools.cycle([True])),
    "in turn": lambda: ScriptedPolicy(itertools.cycle([True, False, False])),
    "at random": lambda: ScriptedPolicy(itertools.cycle(random.Random(1).choices([True, False], k=97))),
    "fixed": lambda: Fixed((4,)),
    "confident": lambda: Confidence((2, 4), 0.05),
}
LOOKUPS: dict[str, Callable[[], PromptLookup | None]] = {
    "no lookup": lambda: None,
    "the document": lambda: PromptLookup(VOCABULARY, LAYERS),
    "wrong": lambda: ScriptedLookup(lambda context: (context[-1] * 7 + 3) % TOKENS),
    "the end of the text": lambda: ScriptedLookup(lambda _: END_OF_TEXT),
    "repeated": lambda: ScriptedLookup(lambda context: context[-1]),
    "at times": lambda: ScriptedLookup(lambda context: context[-1] if sum(context) % 3 else None),
}
