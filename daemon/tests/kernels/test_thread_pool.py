"""The kernel's second thread: what it computes, that nobody waits for it in vain, and that nothing is raced for."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from green_code.kernels import build as build_module
from green_code.kernels import decoder as decoder_module
from green_code.kernels.binding import CTeam, Kernel
from green_code.kernels.decoder import usable_cores
from green_code.kernels.helper_thread import Helper
from tests.kernels.references import CONFIGS, GEMMA, buffers, made, run, states

HERE = Path(__file__).resolve().parent
WAKING_SECONDS = (
    0.0005  # of a core that slept, longer than this little work lasts, and shorter than a helper's patience
)
MOST_SECONDS = 60  # where other work has the cores, and after a stall no helper is called for a while


class Absent(Helper):
    """Never comes."""

    def call(self, work: Callable[[], None]) -> bool:
        return True


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("helper", ["there", "absent"])
def test_a_second_thread_changes_nothing(
    name: str, helper: str, kernels: dict[str, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIGS[name]
    # 1 to 69 rows at once, of which two lie in two blocks of keys; the last job is over 64.
    cuts = {1: 1, 2: 1, 5: 2, 9: 2, 15: 2, 17: 1, 86: 1}
    for level, kernel in kernels.items():
        monkeypatch.setattr(decoder_module, "usable_cores", lambda: 1)
        alone = run(made(kernel, config), states(config), cuts)
        monkeypatch.setattr(decoder_module, "usable_cores", lambda: 2)
        decoder = made(kernel, config)
        if helper == "absent":
            decoder._helper = Absent()
        called = decoder._call_helper

        def and_comes(called: Callable[[], CTeam | None] = called) -> CTeam | None:
            team, since = called(), time.perf_counter()
            while time.perf_counter() < since + WAKING_SECONDS:
                time.sleep(0)  # so short a sleep lasts long on some systems
            return team

        if helper == "there":
            monkeypatch.setattr(decoder, "_call_helper", and_comes)
        came, since = helper == "absent" or usable_cores() < 2, time.monotonic()
        while True:
            for one, other in zip(alone, run(decoder, states(config), cuts), strict=True):
                assert torch.equal(one, other), level
            came = came or decoder._team.helped > 0  # in the last job
            if came:
                break
            assert time.monotonic() < since + MOST_SECONDS, f"{level}: the helper has done nothing"


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_where_no_thread_is_to_be_had_one_goes_on(
    kernels: dict[str, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = next(iter(kernels.values()))
    monkeypatch.setattr(decoder_module, "usable_cores", lambda: 2)
    expected, decoder = run(made(kernel, GEMMA), states(GEMMA)), made(kernel, GEMMA)
    with monkeypatch.context() as refused:
        refused.setattr(threading.Thread, "start", no_thread)
        for one, other in zip(expected, run(decoder, states(GEMMA)), strict=True):
            assert torch.equal(one, other)
        assert decoder._call_helper() is None and not decoder._team.open
    assert decoder._call_helper() is decoder._team, "the next time there may be one"
    decoder._team.open = 0


def test_the_helpers_thread_ends_with_the_decoder_and_keeps_nothing_of_it(
    kernels: dict[str, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_module, "usable_cores", lambda: 2)
    before, decoder = set(threading.enumerate()), made(next(iter(kernels.values())), GEMMA)
    run(decoder, states(GEMMA))
    (helper,) = set(threading.enumerate()) - before
    kept = weakref.ref(decoder)
    del decoder
    gc.collect()
    helper.join(10)  # what it was called for may have been on its way
    assert not helper.is_alive() and kept() is None


def test_after_a_stall_one_thread_goes_on_alone_for_a_while_and_longer_after_more(
    kernels: dict[str, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, stalls = 0.0, 0
    with_helper: list[bool] = []
    monkeypatch.setattr(decoder_module, "usable_cores", lambda: 2)
    monkeypatch.setattr(decoder_module.time, "monotonic", lambda: now)
    decoder = made(next(iter(kernels.values())), GEMMA)

    class Stalling:
        chunk, help = decoder._kernel.chunk, staticmethod(lambda team: None)

        @staticmethod
        def run_layers(*arguments: Any) -> None:
            *_, team = arguments
            with_helper.append(team is not None)
            if team is not None:
                team.stalls, team.open = stalls, 0

    decoder._kernel = Stalling()  # type: ignore[assignment]

    def step(at: float) -> bool:
        nonlocal now
        now = at
        decoder.run_layers(1, 2, states(GEMMA), 0, 1, *buffers(decoder))
        return with_helper[-1]

    assert step(0.0) and step(0.001)
    stalls = 1
    assert step(0.010) and not step(0.012)
    assert step(0.016), "the machine is asked again"
    assert not step(0.022) and step(0.030), "twice as long"
    stalls = 0
    assert not step(0.040) and step(0.060)
    stalls = 1
    assert step(0.070) and not step(0.072) and step(0.080), "what was before has been forgotten"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="builds the thread sanitizer for Linux")
def test_nothing_is_raced_for(tmp_path: Path) -> None:
    program, sources = tmp_path / "team_race", Path(build_module.__file__).parent
    flags = ("-std=c11", "-O1", "-fsanitize=thread", "-pthread", f"-I{sources}")
    compiler = (sys.executable, "-m", "ziglang", "cc")
    subprocess.run([*compiler, *flags, str(HERE / "team_race.c"), "-o", str(program)], check=True)
    ended = subprocess.run([program], capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
