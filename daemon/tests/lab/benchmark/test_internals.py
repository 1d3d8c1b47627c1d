"""Own time of nested parts, passes and weights of the decoder, and rounding against a model that is known to differ."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from green_code.decoding import stop_rules
from green_code.decoding.kv_cache import KVCache
from green_code.engine.loading import load_runtime
from green_code.models.backend import Buffers, ExitQuestion, TopToken
from green_code.models.catalog import TINY
from green_code_lab.benchmark import internals
from green_code_lab.benchmark.internals import REST, TOTAL, Clock
from green_code_lab.benchmark.peers import Prompt
from green_code_lab.benchmark.peers.green_code import disable_stops
from tests.models.references import tiny

REFERENCE = tiny()


def test_a_part_is_charged_only_for_its_own_time() -> None:
    ticks = itertools.count()  # each reading of the clock is a second later
    clock = Clock(lambda: float(next(ticks)))
    inner = clock.timed("inner", lambda: None)
    outer = clock.timed("outer", lambda: (inner(), inner()))
    clock.restart()
    outer()
    clock.charge()
    assert clock.seconds == {REST: 2.0, "outer": 3.0, "inner": 2.0}


def test_the_profile_adds_up_and_leaves_no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_rules, "RULES", stop_rules.RULES)  # `disable_stops` is for a process of its own
    runtime, advance = load_runtime(TINY), KVCache.advance
    disable_stops(runtime)
    *parts, total = internals.profile(runtime, Prompt((), "def main():\n    return 1\n"), 8)
    assert {"layers", "lens and head", REST} <= {row["part"] for row in parts if row["full_ms"] > 0}
    assert sum(row["full_ms"] for row in parts) == pytest.approx(total["full_ms"]) and total["part"] == TOTAL
    assert "fast_ms" not in total  # there is no agent
    assert KVCache.advance is advance


def test_forward_passes_have_each_number_of_positions_and_read_each_weight_once() -> None:
    found = internals.forward_passes(REFERENCE, [1, 2, 3], (1,), rounds=2)
    assert [row["positions"] for row in found] == list(internals.POSITIONS)
    assert found[0]["ratio"] == (1.0, 1.0, 1.0)
    assert internals.weight_bytes(REFERENCE) == sum(weight.nbytes for weight in REFERENCE.parameters())


def test_equal_top_tokens_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, other = ([[1, *range(40, 189)], [1, 300, 301]], tiny())  # the first is longer than a batch of the head
    assert internals.rounding(other, REFERENCE, texts) == {"positions": 153, "agreement": 1.0}

    def differs_over_few(
        buffers: Buffers, positions: Sequence[int], depth: int, question: ExitQuestion | None = None
    ) -> list[TopToken]:
        tops = REFERENCE.top_tokens(buffers, positions, depth)
        return [replace(top, token=top.token + 1) for top in tops] if len(positions) <= 3 else tops

    monkeypatch.setattr(other, "top_tokens", differs_over_few)
    assert internals.rounding(other, REFERENCE, texts)["agreement"] == pytest.approx(150 / 153)
