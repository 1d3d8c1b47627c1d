"""Recording rollouts with the backend of service, on an exact KV cache.

Every episode is one cache. The context is run once; then each chunk is run as the source continues. What comes after the
first token that the model would have chosen otherwise is truncated, and the model continues by itself. The source's
tokens there run again with the next chunk, in the same batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from green_code.decoding.exit_classifier import unit_rms
from green_code.decoding.kv_cache import KVCache
from green_code.models.backend import Backend, TopToken
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code.sequences import common
from green_code.settings import PROMPT_TOKENS
from green_code_lab.agent.rollouts import CHUNK, NO_SOURCE, Rollouts, write_rollouts
from green_code_lab.corpus import Corpus

EPISODE = 128  # tokens of the source in an episode
_FRACTIONS = (0.2, 0.5)  # of the document that precedes an episode (the paper's)
_LEAST = 32  # tokens a document must have on either side of the cursor
PARTS = {"train": 1.0, "validation": 0.125, "heldout": 0.25}
"""Parts and their sizes. Agents are trained on the first and chosen by the second."""
_VALIDATION = 10  # one document of so many is for validation

Columns = dict[str, np.ndarray]
"""Columns of `Rollouts` by name, (N, …) each."""


def record(
    decoder: Backend,
    vocabulary: Vocabulary,
    corpus: Corpus,
    language: str,
    part: str,
    exits: Sequence[int],
    positions: int,
    seed: int,
    folder: Path,
    weights: str,
    report: Callable[[str], None],
) -> None:
    """Record about `positions` positions of one language for one of PARTS.

    "train" and "validation" are documents of training projects, "heldout" of held-out ones. `weights`: the bundle's key.

    Raises Problem where no document is long enough.
    """
    of = "heldout" if part == "heldout" else "train"
    shard = corpus.shards[language, of]
    recorder = _Recorder(decoder, vocabulary, exits)
    bounds = _bounds(corpus.document_starts(language, of), len(shard), part)
    if not bounds:
        raise Problem(
            "bad_request", f"no {language} document for {part} is long enough to type into; gather more code."
        )
    reported = episode = 0
    for episode, (start, cursor, end) in enumerate(_spans(bounds, np.random.default_rng(seed))):
        recorder.episode(episode, shard[start:cursor].tolist(), shard[cursor:end].tolist(), positions)
        if recorder.positions >= positions:
            break
        if recorder.positions - reported >= 10_000:
            reported = recorder.positions
            report(f"{part} {language}: {reported} of {positions} positions")
    write_rollouts(folder, recorder.result(corpus.languages.index(language), weights))
    report(f"{part} {language}: {recorder.positions} positions in {episode + 1} episodes")


def _bounds(documents: np.ndarray, end: int, part: str) -> list[tuple[int, int]]:
    """The documents of a part that are long enough."""
    found = list(enumerate(itertools.pairwise([*documents.tolist(), end])))
    if part != "heldout":
        found = [(i, pair) for i, pair in found if (i % _VALIDATION == 0) == (part == "validation")]
    return [pair for _, pair in found if pair[1] - pair[0] > 4 * _LEAST]


def _spans(bounds: Sequence[tuple[int, int]], generator: np.random.Generator) -> Iterator[tuple[int, int, int]]:
    """(start of the context, cursor, end of the episode) in documents drawn without end, each once a round."""
    while True:
        for i in generator.permutation(len(bounds)):
            first, last = bounds[i][0] + 1, bounds[i][1]  # after the marker
            cursor = first + max(_LEAST, int(generator.uniform(*_FRACTIONS) * (last - first)))
            yield max(first, cursor - PROMPT_TOKENS), cursor, min(last, cursor + EPISODE)


class _Recorder:
    """Collects the columns of `Rollouts`, chunk by chunk."""

    def __init__(self, decoder: Backend, vocabulary: Vocabulary, exits: Sequence[int]) -> None:
        self._decoder, self._vocabulary, self._exits = decoder, vocabulary, tuple(exits)
        line_ends = {i for i, text in enumerate(vocabulary.token_bytes) if b"\n" in text}
        self._ends = line_ends | set(vocabulary.eos)
        self._columns: dict[str, list[np.ndarray]] = {}
        self._chunks: list[tuple[int, bool, int]] = []  # episode, greedy, rows
        self.positions = 0

    def episode(self, number: int, context: list[int], source: list[int], most: int) -> None:
        """Chunks of a document, until there are about `most` positions in all."""
        text = [self._vocabulary.bos, *context] if self._vocabulary.bos is not None else list(context)
        cache = KVCache(self._decoder)
        cache.append(text[:-1])
        while source and self.positions < most:
            chunk = source[: next((i for i, t in enumerate(source[:CHUNK], 1) if t in self._ends), CHUNK)]
            forced = self._run(cache, len(text) - 1, [*text, *chunk[:-1]])
            greedy = self._continue(cache, len(text) - 1, chunk, forced)
            tokens = _final_tokens(greedy)
            known = source[: common(tokens, source) + 1]  # while the text before is the source's
            self._add(number, True, greedy, [*known, *[NO_SOURCE] * len(tokens)][: len(tokens)])
            self._add(number, False, forced, chunk)
            text += chunk
            source = source[len(chunk) :]

    def _run(self, cache: KVCache, start: int, text: list[int]) -> Columns:
        """Columns of positions `start` … of a text, whose beginning is in `cache`."""
        cache.append(text[len(cache) :])
        end, states, tops = len(cache), list[np.ndarray](), list[TopToken]()
        for depth in range(1, self._decoder.config.layers + 1):
            cache.advance(end - 1, depth)
            tops += cache.top_tokens(range(start, end), depth)
            if depth in self._exits:
                states.append(unit_rms(cache.states(start, end)))
        return self._columns_of(np.stack(states), tops)

    def _continue(self, cache: KVCache, start: int, chunk: list[int], forced: Columns) -> Columns:
        """Columns of the model's own continuation after position `start`; it shares those before its first difference."""
        tokens = _final_tokens(forced)
        shared = min(common(tokens, chunk) + 1, len(chunk))
        parts = [{name: column[:shared] for name, column in forced.items()}]
        written = tokens[:shared]
        cache.truncate(start + shared)
        while len(written) < CHUNK and written[-1] not in self._ends:
            parts.append(self._run(cache, len(cache), [*cache.tokens, written[-1]]))
            written += _final_tokens(parts[-1])
        cache.truncate(start + shared)
        return {name: np.concatenate([part[name] for part in parts]) for name in forced}

    def _columns_of(self, states: np.ndarray, tops: Sequence[TopToken]) -> Columns:
        """Of states (X, N, C) at the exits over their root mean square, and top tokens after each layer, N · L."""
        layers, rows = self._decoder.config.layers, states.shape[1]
        at = [depth - 1 for depth in self._exits]
        tokens = np.array([top.token for top in tops], np.int32).reshape(layers, rows)
        log_odds, margins = (
            np.array([getattr(top, name) for top in tops], np.float16).reshape(layers, rows)[at].T
            for name in ("log_odds", "margin")
        )
        return {
            "states": states.swapaxes(0, 1).astype(np.float16),
            "exit_tokens": tokens[at].T,
            "log_odds": log_odds,
            "margins": margins,
            "first_right": 1 + (tokens == tokens[-1]).argmax(0).astype(np.int32),
            "final_tokens": tokens[-1],
        }

    def _add(self, episode: int, greedy: bool, columns: Columns, source: Sequence[int]) -> None:
        for name, column in {**columns, "source_tokens": np.array(source, np.int32)}.items():
            self._columns.setdefault(name, []).append(column)
        self._chunks.append((episode, greedy, len(source)))
        self.positions += len(source)

    def result(self, language: int, weights: str) -> Rollouts:
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        episodes, greedy, rows = zip(*self._chunks, strict=True)
        return Rollouts(
            self._exits,
            self._decoder.config.layers,
            starts=np.cumsum([0, *rows]),
            episodes=np.array(episodes),
            greedy=np.array(greedy),
            languages=np.full(len(columns["final_tokens"]), language),
            weights=weights,
            **columns,
        )


def _final_tokens(columns: Columns) -> list[int]:
    return [int(token) for token in columns["final_tokens"]]
