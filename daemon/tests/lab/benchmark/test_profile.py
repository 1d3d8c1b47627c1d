"""Own time of nested parts, and that the hooks are taken away again; the bytes that a token reads."""

from __future__ import annotations

import itertools

import pytest

from green_code.decoding import stops
from green_code.decoding.kv_cache import KVCache
from green_code.engine.runtime import Runtime, load_runtime
from green_code.models.catalog import TINY
from green_code.models.decoder import Decoder
from green_code.models.tiny import TinySource
from green_code_lab.benchmark.bound import memory_bound, weight_bytes
from green_code_lab.benchmark.peer import Prompt
from green_code_lab.benchmark.peers.green_code import write_on
from green_code_lab.benchmark.profile import REST, Clock, profile


def test_a_part_is_charged_only_for_what_it_does_itself() -> None:
    ticks = itertools.count()  # a second passes between two looks at the clock
    clock = Clock(lambda: float(next(ticks)))
    inner = clock.timed("inner", lambda: None)

    def work() -> None:
        inner()
        inner()

    outer = clock.timed("outer", work)
    clock.start()
    outer()
    clock.charge()
    assert clock.seconds == {REST: 2.0, "outer": 3.0, "inner": 2.0}


def test_a_part_that_fails_is_closed() -> None:
    clock = Clock()
    with pytest.raises(ZeroDivisionError):
        clock.timed("part", lambda: 1 / 0)()
    clock.start()
    clock.charge()
    assert set(clock.seconds) == {REST}


def test_the_profile_adds_up_and_leaves_no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stops, "RULES", stops.RULES)  # `write_on` is for a process of its own
    runtime, advance = load_runtime(TINY), KVCache.advance
    write_on(runtime)
    text = "def main():\n    return 1\n"
    found = profile(runtime, Prompt((), text), 8, threads=1)
    assert [mode["decoding"] for mode in found] == ["full"]  # there is no agent
    for mode in found:
        assert {"layers", "lens and head", REST} <= set(mode["parts"])
        assert sum(mode["parts"].values()) == pytest.approx(mode["seconds"])
    assert KVCache.advance is advance


def test_every_weight_is_read_once(runtime: Runtime) -> None:
    config = TinySource().config
    torch_decoder = Decoder(config)
    assert weight_bytes(torch_decoder) == sum(p.nbytes for p in torch_decoder.parameters())
    bound = memory_bound(torch_decoder, (1,))
    assert bound["threads"][0]["token_seconds"] > 0
