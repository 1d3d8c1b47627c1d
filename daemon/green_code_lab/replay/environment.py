"""Suggestions from records: what a policy shows at each cursor position, and what that costs.

A policy is two rules over records. One may refuse a request at each depth to which its prompt comes. The other
estimates, token by token, the probability that all text so far is right, and ends the suggestion before the first token with which that
falls under `stop`. What was shown at one place changes what is asked at the next, as in service; the cache keeps what it has.

Work is counted as one forward pass a token, without drafts, and priced as in service.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from green_code.decoding.stop_rules import Situation
from green_code.energy.meters import DEFAULT_WATTS_PER_CORE
from green_code.lsp.prompt import PromptWindow
from green_code.models.backend import SMALL_BATCH
from green_code.models.vocabulary import Vocabulary, text_of
from green_code.sequences import common
from green_code.settings import PROMPT_TOKENS
from green_code.work import Prices, Work, full_depth_work
from green_code_lab.replay.records import MAX_LINES, Records
from green_code_lab.replay.typist import Answer


@dataclass(frozen=True)
class Refuses:
    """Whether a request is refused behind its prompt: asked with its record, the features of its place, and the depth to which the
    position has come, at each of `depths` (ascending)."""

    depths: tuple[int, ...]
    at: Callable[[int, Sequence[float], int], bool]


NEVER = Refuses((), lambda row, place, depth: False)


@dataclass(frozen=True)
class Shown:
    """Per request of records: what a policy shows, unless it refuses; "" where nothing. `passes`: tokens that are decoded, the one
    before which it stops included. `right`: that there is a text, with which the file goes on."""

    texts: list[str]
    passes: np.ndarray
    right: np.ndarray


class Replayer:
    """Records, with what does not depend on a policy computed once.

    Args:
        prices: joules of a unit of work. layers: of the model.
    """

    def __init__(self, records: Records, vocabulary: Vocabulary, prices: Prices, layers: int) -> None:
        self.records, self.vocabulary, self.prices, self.layers = records, vocabulary, prices, layers
        self._first = {span: int(i) for i, span in reversed(list(enumerate(records.span.tolist())))}

    @cached_property
    def texts(self) -> list[str]:
        """Each request's whole text, which no rule has cut."""
        found = []
        for i in range(len(self.records)):
            tokens = self.records.tokens[self.records.starts[i] : self.records.starts[i + 1]]
            data = b"".join(self.vocabulary.token_bytes[token] for token in tokens)
            whole, last = (
                text_of(data),
                int(self.records.characters[self.records.starts[i + 1] - 1]) if len(tokens) else 0,
            )
            found.append(whole[len(whole) - last :] if last else "")
        return found

    @cached_property
    def agreed_characters(self) -> np.ndarray:
        """(N,) how many characters of the whole text the file goes on with."""
        found = np.zeros(len(self.records), np.int32)
        for i, text in enumerate(self.texts):
            span = self.records.spans[self.records.span[i]]
            offset = span.cursors[self.records.cursor[i]]
            truth = (
                span.text[offset : offset + len(text)] + span.after[: max(0, len(text) - len(span.text) + offset)]
            )[: len(text)]
            n = 0
            while n < len(truth) and truth[n] == text[n]:
                n += 1
            found[i] = n
        return found

    @cached_property
    def token_right(self) -> np.ndarray:
        """(M,) whether all text with this token is right."""
        rows = np.repeat(np.arange(len(self.records)), np.diff(self.records.starts))
        return self.records.characters <= self.agreed_characters[rows]

    @cached_property
    def situations(self) -> list[Situation]:
        """Of each request, for the stop rules."""
        found, windows = list[Situation](), defaultdict[int, PromptWindow](PromptWindow)
        for i, cursor in zip(self.records.span.tolist(), self.records.cursor.tolist(), strict=True):
            span = self.records.spans[i]
            lines, line, index = span.document_at(cursor)
            prompt = windows[i].prompt(lines, line, index, PROMPT_TOKENS)
            found.append(Situation.at(prompt.prefix, prompt.suffix, False, MAX_LINES, span.language))
        return found

    def first(self, span: int) -> int:
        """The record of a span's first cursor."""
        return self._first[span]

    def suggester(self, span: int, shown: Shown, refuses: Refuses = NEVER) -> FromRecords:
        """For one span.

        Args:
            shown: of a policy over all records. refuses: is asked where a layer has to run.
        """
        return FromRecords(self, span, shown, refuses)


class FromRecords:
    """Keeps the account of a cache.

    `asked`: (record, features of the place, whether a layer had to run) of each request; `joules`: what each cost; `refused`: the depth
    at which it was refused, or 0.
    """

    def __init__(self, replayer: Replayer, span: int, shown: Shown, refuses: Refuses) -> None:
        self._replayer, self._shown, self._refuses = replayer, shown, refuses
        self._first, self._span = replayer.first(span), replayer.records.spans[span]
        self._full = 0  # positions of the prompt that the cache holds at full depth
        self._low = [0] * len(refuses.depths)  # and those that have come to each depth, for refused requests
        self._cursor = self._prompt = 0  # of the last request
        self._continuation = list[int]()  # tokens that the cache holds behind its prompt
        self.asked, self.joules = list[tuple[int, list[float], bool]](), list[float]()
        self.refused = list[int]()

    def open(self) -> float:
        prompt = int(self._replayer.records.prompt[self._first])
        self._full = self._prompt = prompt
        return self._replayer.prices.of(full_depth_work(self._replayer.layers, prompt, 1, SMALL_BATCH))

    def ask(self, cursor: int, place: list[float], limit: float) -> Answer:
        records, shown, layers = self._replayer.records, self._shown, self._replayer.layers
        i, start = self._first + cursor, int(records.starts[self._first + cursor])
        prompt, tokens = int(records.prompt[i]), records.tokens[start : records.starts[i + 1]].tolist()
        healed = int(np.count_nonzero(records.characters[start : start + len(tokens)] == 0))  # only spell what is there
        resumed = self._find(cursor, prompt, tokens)
        new = prompt - self._full
        decides = new > 0 or resumed < healed  # whether layers run where the text begins
        self.asked.append((i, place, decides))
        refused, decisions = self._refusal(i, place, prompt, healed) if decides else (0, 0)
        self.refused.append(refused)
        if refused and not healed:
            text, passes, work = "", 0, self._lower(prompt, refused)
            self._low = [prompt if depth <= refused else low for depth, low in self._bands()]
        else:
            text, passes = ("", healed) if refused else (shown.texts[i], int(shown.passes[i]))
            if refused:
                resumed = min(resumed, healed - 1)  # the last one's position has been through the lower layers alone
            deepest = max(self._refuses.depths, default=0)
            saved = _layers(deepest, new) - self._lower(prompt, deepest)
            work = full_depth_work(layers, new, passes, SMALL_BATCH, resumed) - saved + _layers(refused, 1)
            self._full = prompt
        work.decisions += decisions
        self._continuation = tokens[: max(0, passes - 1)]
        self._cursor, self._prompt = cursor, prompt
        joules = self._replayer.prices.of(work)
        seconds = joules / DEFAULT_WATTS_PER_CORE
        if seconds >= limit:  # what was computed stays in the cache; which part of it matters little here
            joules *= limit / seconds
        self.joules.append(joules)
        return Answer(text, joules, seconds, passes)

    def _refusal(self, row: int, place: list[float], prompt: int, healed: int) -> tuple[int, int]:
        """The depth at which a request is refused, or 0; and how often that was asked. Where the position is deeper already, it is not."""
        decisions = 0
        held = 0 if healed else max((depth for depth, low in self._bands() if low >= prompt), default=0)
        for depth in self._refuses.depths:
            if depth >= held:
                decisions += 1
                if self._refuses.at(row, place, depth):
                    return depth, decisions
        return 0, decisions

    def _bands(self) -> Iterator[tuple[int, int]]:
        """Each depth at which requests may be refused, and the positions of the prompt that have come to it."""
        return zip(self._refuses.depths, self._low, strict=True)

    def _lower(self, prompt: int, depth: int) -> Work:
        """What brings the prompt to a depth at which requests may be refused."""
        work, before = Work(), 0
        for each, low in self._bands():
            if each <= depth:
                work += _layers(each - before, prompt - max(self._full, min(low, prompt)))
                before = each
        return work

    def _find(self, cursor: int, prompt: int, tokens: list[int]) -> int:
        """Find what the cache holds of a prompt; returns how many of the tokens behind it."""
        records = self._replayer.records
        between = records.shared[self._first + self._cursor + 1 : self._first + cursor + 1]
        least, written = int(between.min(initial=prompt)), prompt - self._prompt
        before = self._first + self._cursor
        characters = records.characters[records.starts[before] : records.starts[before] + len(self._continuation)]
        typed = self._span.cursors[cursor] - self._span.cursors[self._cursor]
        if 0 < written <= len(characters) and characters[written - 1] <= min(
            typed, self._replayer.agreed_characters[before]
        ):
            least, self._full = prompt, prompt  # what was generated has been typed or accepted
            behind = self._continuation[written:]
        else:
            behind = self._continuation if written == 0 and least == prompt else []
        self._full, self._low = min(self._full, least), [min(low, least) for low in self._low]
        return common(behind, tokens) if self._full == prompt else 0


def _layers(depth: int, positions: int) -> Work:
    """`depth` layers over a batch of positions."""
    if depth == 0 or positions == 0:
        return Work()
    return Work(
        layer_batches=depth,
        layer_positions=depth * positions,
        small_batch_positions=depth * min(SMALL_BATCH, positions),
    )
