"""Prompt lookup: drafts from what followed the last tokens elsewhere (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding).

Two sources: this session's text, which is the document on both sides of the cursor and recent completions; and the training
corpus, as the bundle's n-gram table (ngram_table.py). The draft with the higher acceptance rate is taken.

Priors of the rates: `green-code experiments drafts` measures them with the default bundle on its corpus' held-out projects
(8,192 positions, against the last layer's token), never on evaluation rows.

Must not know: prices, exits, text beyond the tokens' bytes.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections.abc import Sequence

from green_code.decoding.draft import AcceptanceRate, Draft
from green_code.decoding.ngram_table import NgramTable
from green_code.models.vocabulary import Vocabulary
from green_code.sequences import common

NEAR_TOKENS = 1000  # indexed before the prompt's window, and of the lines after the cursor
LENGTHS = (8, 5, 3, 2, 1)  # of the n-grams that are looked up, the longest first
_RECENT_TOKENS = 1000  # indexed of recent completions
_OCCURRENCES = 4  # of an n-gram whose continuations are compared
_BREAK = -1  # between two completions; no token
_MAX_DROPPED = 500  # tokens that stay in an index after the text has lost them at its beginning
_ANCHOR_TOKENS = 8  # by which a text's beginning is found again
_TOKEN_BYTES = 470  # of an index, as tracemalloc counts them in CPython 3.11


class NgramIndex:
    """Earlier occurrences of each n-gram (`LENGTHS`) in a text that grows and is cut at its end.

    For each length it has the last place of each n-gram, and for each place the previous one of the same n-gram. So adding or
    removing a token costs one step a length, however long the text is. Tokens that the text has lost at its beginning stay for
    a while, unused. N-grams are recognised by their hash; a collision gives a wrong draft and no more.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[int] = []
        self._begin = 0  # of the text; what lies before it was lost
        self._offered: list[bool] = []
        # Per length: an n-gram's hash → the place of its last token; a place → that of the n-gram's previous occurrence, or −1.
        self._last: dict[int, dict[int, int]] = {n: {} for n in LENGTHS}
        self._before: dict[int, list[int]] = {n: [] for n in LENGTHS}

    @property
    def tokens(self) -> list[int]:
        return self._tokens[self._begin :]

    def __len__(self) -> int:
        return len(self._tokens) - self._begin

    def ending(self, count: int) -> list[int]:
        """The last tokens, at most `count`."""
        return self._tokens[max(self._begin, len(self._tokens) - count) :]

    @property
    def memory_bytes(self) -> int:
        """Approximate memory."""
        return _TOKEN_BYTES * len(self._tokens)

    def extend(self, tokens: Sequence[int], offered: bool = True) -> None:
        """Add tokens; those not `offered` can be part of an n-gram, but are no continuations."""
        for token in tokens:
            self._tokens.append(token)
            self._offered.append(offered)
            place = len(self._tokens) - 1
            for n in LENGTHS:
                run = hash(tuple(self._tokens[-n:]))
                self._before[n].append(self._last[n].get(run, -1))
                self._last[n][run] = place

    def truncate(self, length: int) -> None:
        """Forget the tokens from `length` on, and all n-grams with one of them."""
        if length <= 0:
            self._clear()
            return
        while len(self) > length:
            for n in LENGTHS:
                run, before = hash(tuple(self._tokens[-n:])), self._before[n].pop()
                if before < 0:
                    del self._last[n][run]
                else:
                    self._last[n][run] = before
            self._tokens.pop()
            self._offered.pop()

    def follow(self, tokens: Sequence[int]) -> None:
        """Become the index of `tokens`, keeping the common beginning, even where the new text begins further on or earlier, as
        the lines after a moving cursor do."""
        self._begin = self._found(tokens)
        same = common(self.tokens, tokens)
        self.truncate(same)
        self.extend(tokens[same:])

    def _found(self, tokens: Sequence[int]) -> int:
        """Where `tokens` begin in the indexed text, within `_MAX_DROPPED` tokens; else where the text began before."""
        sought = list(tokens[:_ANCHOR_TOKENS])
        places = range(min(_MAX_DROPPED, len(self._tokens) - len(sought)) + 1)
        nearest = itertools.chain(places[self._begin :], places[: self._begin])
        return next((i for i in nearest if self._tokens[i : i + len(sought)] == sought), self._begin)

    def last(self, count: int) -> NgramIndex:
        """An index of the last `count` tokens."""
        kept = NgramIndex()
        for token, offered in zip(self.tokens[-count:], self._offered[-count:], strict=True):
            kept.extend([token], offered)
        return kept

    def continuations(self, run: Sequence[int]) -> list[int]:
        """What followed the latest occurrences of `run`, an n-gram of one of `LENGTHS`; the latest first."""
        found: list[int] = []
        place = self._last[len(run)].get(hash(tuple(run)), -1)
        first = self._begin + len(run) - 1
        while place >= first and len(found) < _OCCURRENCES:
            if place + 1 < len(self._tokens) and self._offered[place + 1]:
                found.append(self._tokens[place + 1])
            place = self._before[len(run)][place]
        return found


# Acceptance rate of the latest continuation, by the n-gram's length and, in the order of `_agreement`, by how far its
# occurrences agree.
_SESSION_PRIORS = {
    1: (0.19, 0.34, 0.57, 0.88),
    2: (0.25, 0.46, 0.62, 0.85),
    3: (0.27, 0.59, 0.71, 0.88),
    5: (0.40, 0.61, 0.83, 0.90),
    8: (0.48, 0.76, 0.80, 0.95),
}


def _agreement(found: Sequence[int]) -> int:
    """0: the two latest differ; 1: there is only one; 2: the latest two or three agree; 3: all `_OCCURRENCES` do."""
    if len(found) == 1:
        return 1
    if found[0] != found[1]:
        return 0
    return 3 if len(found) == _OCCURRENCES and len(set(found)) == 1 else 2


# The same for the corpus' continuation, by the class of its share.
SHARES = (0.2, 0.3, 0.5, 0.7, 0.9)  # bounds of the classes
_CORPUS_PRIORS = (0.17, 0.23, 0.36, 0.53, 0.75, 0.91)


class PromptLookup:
    """
    Args:
        layers: L, the depth of its drafts. table: the bundle's n-gram table, where it has one.
    """

    def __init__(self, vocabulary: Vocabulary, layers: int, table: NgramTable | None = None) -> None:
        self.document = NgramIndex()  # up to the cursor, and the tokens generated there
        self.rates = {(n, i): AcceptanceRate.prior(p) for n, row in _SESSION_PRIORS.items() for i, p in enumerate(row)}
        self.corpus_rates = [AcceptanceRate.prior(chance) for chance in _CORPUS_PRIORS]
        self._table = table
        self._earlier, self._after, self._recent = NgramIndex(), NgramIndex(), NgramIndex()
        self._vocabulary, self._layers = vocabulary, layers

    @property
    def memory_bytes(self) -> int:
        """Approximate memory of the indexes."""
        indexes = (self.document, self._earlier, self._after, self._recent)
        return sum(index.memory_bytes for index in indexes)

    def around(self, earlier: Sequence[int], after: Sequence[int]) -> None:
        """Index what the window cut off before the prompt, and the lines after the cursor."""
        self._earlier.follow(earlier[-NEAR_TOKENS:])
        self._after.follow(after[:NEAR_TOKENS])

    def remember(self, context: Sequence[int], tokens: Sequence[int]) -> None:
        """Index this completion, which came after `context`. What follows inside `context` is in the document already."""
        self._recent.extend([_BREAK, *context[-LENGTHS[0] :]], offered=False)
        self._recent.extend(tokens)
        if len(self._recent) > _RECENT_TOKENS:
            self._recent = self._recent.last(_RECENT_TOKENS // 2)

    def draft(self, context: Sequence[int], required: bytes) -> Draft | None:
        """The token after `context`, among those that agree with the required bytes (token healing)."""
        drafts = (self.from_session(context, required), self.from_corpus(context, required))
        return max((d for d in drafts if d is not None), key=lambda d: d.rate.chance, default=None)

    def from_session(self, context: Sequence[int], required: bytes) -> Draft | None:
        """What followed the latest occurrence of the longest n-gram that this session's text has."""
        for n in LENGTHS:
            run = context[-n:]
            if len(run) < n:
                continue
            found = [
                token
                for index in (self._recent, self.document, self._earlier, self._after)
                for token in index.continuations(run)
                if not required or self._vocabulary.is_compatible(token, required)
            ][:_OCCURRENCES]
            if found:
                return Draft(found[0], self._layers, self.rates[n, _agreement(found)], "prompt_lookup")
        return None

    def from_corpus(self, context: Sequence[int], required: bytes) -> Draft | None:
        """What follows most often in the training corpus."""
        if self._table is None or (known := self._table.continuation(context)) is None:
            return None
        token, share = known
        if required and not self._vocabulary.is_compatible(token, required):
            return None
        return Draft(token, self._layers, self.corpus_rates[bisect(SHARES, share)], "ngrams")
