"""Figures of Green Code alone: a token's time by part, forward passes over several positions, rounding, memory bound."""

from __future__ import annotations

import math
import time
import timeit
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch

from green_code.decoding import generate
from green_code.decoding.drafter import Drafter
from green_code.decoding.exit_policies import Agent
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.engine.loading import Runtime
from green_code.kernels.decoder import KernelDecoder
from green_code.link.messages import CompletionParams
from green_code.models.backend import Backend
from green_code.models.torch_decoder import Decoder
from green_code.models.vocabulary import Vocabulary
from green_code.settings import default_settings
from green_code_lab.benchmark.peers import Prompt
from green_code_lab.benchmark.peers.green_code import several_lines
from green_code_lab.benchmark.process import pin
from green_code_lab.benchmark.rounds import Estimate, median, order, ratio

REST, TOTAL = "the rest", "a token"
POSITIONS = (1, 2, 4, 8, 16)
_HEAD_ROWS = 128  # states whose logits are in memory together
_ARRAY_BYTES = 256 * 2**20  # no processor's cache holds such an array


class Clock:
    """Seconds by part since it was made. A part that calls another is charged only for its own time."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._now, self._open, self._since = now, [REST], now()

    def restart(self) -> None:
        self._since = self._now()

    def charge(self) -> None:
        """Give the time since the last change to the part that ran."""
        now = self._now()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        self.seconds[part] += 0.0  # a part that never runs is in the table, too

        def run(*args: Any, **kwargs: Any) -> Any:
            self.charge()
            self._open.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.charge()
                self._open.pop()

        return run


def _parts(decoder: type[Any]) -> list[tuple[str, Any, str]]:
    """(part, owner, name of the function)."""
    return [
        ("drafts", Drafter, "draft"),
        ("layers", KVCache, "advance"),
        ("lens and head", decoder, "top_tokens"),
        ("lens and head", decoder, "top_token_among"),
        ("embedding and cache", KVCache, "append"),
        ("embedding and cache", KVCache, "truncate"),
        ("agent", Agent, "should_exit"),
        ("choice of the token", Chooser, "choose"),
        ("stop rules", generate, "check"),
        ("token to text", generate, "text_of"),
        ("text to tokens", Vocabulary, "encode"),
    ]


def profile(runtime: Runtime, prompt: Prompt, tokens: int) -> list[dict[str, Any]]:
    """A row per part, the largest first and the whole token last: ms per token and shares, of the fastest of a few runs.

    At full depth and, if there is an agent, in `fast`; the prompt is in the cache.
    """
    modes = {"full": several_lines(runtime.model, "full", 1.0)}
    if runtime.agent is not None:
        modes["fast"] = several_lines(runtime.model, "fast", default_settings().threshold)
    rows: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for mode, params in modes.items():
        params["prefix"] = prompt.text
        runs = [_milliseconds(runtime, params, tokens) for _ in range(3)]
        best = min(runs, key=lambda parts: parts[TOTAL])
        for part, ms in best.items():
            rows[part] |= {"part": part, f"{mode}_ms": ms, f"{mode}_share": ms / best[TOTAL]}
    return sorted(rows.values(), key=lambda row: (row["part"] == TOTAL, -row["full_ms"]))


def _milliseconds(runtime: Runtime, params: CompletionParams, tokens: int) -> dict[str, float]:
    session = runtime.new_session()  # an old one would draft what it has written before
    session.complete({**params, "max_tokens": 1}, lambda: None, math.inf)
    with ExitStack() as hooks:
        clock = Clock()
        for part, owner, name in _parts(type(runtime.decoder)):
            hooks.enter_context(patch.object(owner, name, clock.timed(part, getattr(owner, name))))
        clock.restart()
        count = session.complete({**params, "max_tokens": tokens}, lambda: None, math.inf)["tokens"]
        clock.charge()
    parts = {part: seconds / count * 1e3 for part, seconds in clock.seconds.items()}
    return {**parts, TOTAL: sum(parts.values())}


def forward_passes(
    decoder: Backend, prompt: Sequence[int], threads: Sequence[int], rounds: int = 60
) -> list[dict[str, Any]]:
    """Milliseconds of a forward pass after the prompt by threads and positions, and their ratio to one position's.

    The numbers of positions take turns, forwards and backwards; a ratio is of passes in the same round.
    """
    cache, found = _filled(decoder, prompt), list[dict[str, Any]]()
    for count in threads:
        pin(count)
        taken: dict[int, list[float]] = {positions: [] for positions in POSITIONS}
        for round in range(rounds):
            for positions in order(POSITIONS, round):
                taken[positions].append(_pass_ms(cache, len(prompt), positions))
        for positions, own in taken.items():
            estimates = {"ms": median(own), "ratio": ratio(own, taken[1])}
            found.append({"threads": count, "positions": positions, **estimates})
    pin(None)
    return found


def _filled(decoder: Backend, tokens: Sequence[int]) -> KVCache:
    """A cache with these tokens at full depth."""
    cache = KVCache(decoder)
    cache.append(tokens)
    cache.advance(len(tokens) - 1, decoder.config.layers)
    return cache


def _pass_ms(cache: KVCache, start: int, positions: int) -> float:
    cache.truncate(start)
    cache.append([cache.tokens[-1]] * positions)
    begin = time.perf_counter()
    cache.advance(len(cache) - 1, cache.decoder.config.layers, start)
    return (time.perf_counter() - begin) * 1e3


def rounding(decoder: Backend, reference: Decoder, texts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Teacher-forced over `texts`: the number of positions, and the share with `reference`'s top token, in float32."""
    pairs = ((_top_tokens(decoder, text), _top_tokens(reference, text)) for text in texts)
    same = [own == wanted for pair in pairs for own, wanted in zip(*pair, strict=True)]
    return {"positions": len(same), "agreement": sum(same) / len(same)}


def _top_tokens(decoder: Backend, text: Sequence[int]) -> list[int]:
    cache = _filled(decoder, text)
    batches = (range(i, min(i + _HEAD_ROWS, len(text))) for i in range(0, len(text), _HEAD_ROWS))
    return [top.token for batch in batches for top in cache.top_tokens(batch, decoder.config.layers)]


def memory_bound(decoder: Any, token_ms: Mapping[int, Estimate | None]) -> list[dict[str, Any]]:
    """By threads: the weights that a token reads, how fast memory is read, the ms that takes, and the measured ms."""
    size, found = weight_bytes(decoder), []
    for threads, measured in token_ms.items():
        least = size / (speed := memory_speed(threads)) * 1e3
        row = {"threads": threads, "weight_mb": size / 1e6, "gb_per_s": speed / 1e9, "bound_ms": least}
        found.append(row | ({"token_ms": measured, "of_bound": measured[0] / least} if measured else {}))
    return found


def weight_bytes(decoder: Any) -> int:
    """Bytes of weights that a token at full depth reads: without an embedding that is not also the head."""
    if isinstance(decoder, KernelDecoder):
        return decoder.weight_bytes
    unread = ("positions.weight",) if decoder.config.tied_head else ("positions.weight", "embed.weight")
    return sum(weight.nbytes for name, weight in decoder.state_dict().items() if name not in unread)


def memory_speed(threads: int) -> float:
    """Bytes a second: the best of a few sums and copies of a large array; a copy counts what it reads and what it writes."""
    torch.set_num_threads(threads)
    source = torch.ones(_ARRAY_BYTES // 4)
    target = torch.zeros_like(source)
    read = min(timeit.repeat(source.sum, number=1, repeat=5))
    copy = min(timeit.repeat(lambda: target.copy_(source), number=1, repeat=5))
    return max(_ARRAY_BYTES / read, 2 * _ARRAY_BYTES / copy)
