"""The kernel's threads: same results for any number, no wait for a helper that does not come, no data race."""

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

import numpy as np
import pytest

from green_code.kernels import decoder as kernel_decoder
from green_code.kernels import thread_pool
from green_code.kernels.binding import CThreadPool, Kernel
from green_code.kernels.build import WARNINGS
from green_code.kernels.thread_pool import ThreadPool, most_workers, usable_cores, workers_for
from tests.kernels.references import CONFIGS, GEMMA, PREVIEWED, decoder_for, final_tops, run, states, with_svd_head

HERE = Path(__file__).resolve().parent
WAKING_SECONDS = 0.05
MOST_SECONDS = 5


def use(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """So many threads share each call from now on."""
    monkeypatch.setattr(thread_pool, "most_workers", lambda: workers)
    monkeypatch.setattr(thread_pool, "workers_for", lambda rows, most: workers)


class Watched(ThreadPool):
    """Waits until its helpers run, or has some that never come; `helped`: parts that helpers computed."""

    def __init__(self, run_helper: Callable[[CThreadPool, int], None], comes: bool) -> None:
        super().__init__(run_helper)
        self.comes, self.runs, self.helped = comes, threading.Event(), 0

    def open(self, rows: int) -> CThreadPool | None:
        self.runs.clear()
        pool, until = super().open(rows), time.perf_counter() + WAKING_SECONDS
        while self.comes and not self.runs.is_set() and time.perf_counter() < until:
            time.sleep(0)
        return pool

    def back_off(self) -> None:
        self.helped += self.structure.helped  # and the next call has helpers, too

    def _call_helper(self, worker: int) -> bool:
        return super()._call_helper(worker) if self.comes else True

    def _help(self, worker: int) -> None:
        self.runs.set()
        while self.structure.open:
            self._run_helper(self.structure, worker)
            self.structure.stalls = 0  # or the pool would close while other work has the cores


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("workers, comes", [(2, True), (5, True), (2, False)])
def test_more_threads_change_nothing(
    name: str, workers: int, comes: bool, kernels: dict[str, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where they are more than there are cores."""
    config = CONFIGS[name]
    # 1 to 69 rows at once, two of them in two blocks of keys.
    cuts, idle = {1: 1, 2: 1, 5: 2, 9: 2, 15: 2, 17: 1, 86: 1}, []
    for level, kernel in kernels.items():
        use(monkeypatch, 1)
        alone = run(decoder_for(kernel, config), states(config), cuts)
        use(monkeypatch, workers)
        decoder = decoder_for(kernel, config)
        decoder._threads = threads = Watched(kernel.run_helper, comes)
        since = time.monotonic()
        while True:
            for one, other in zip(alone, run(decoder, states(config), cuts), strict=True):
                assert np.array_equal(one, other), level
            if threads.helped or not comes or usable_cores() < 2:
                break
            if time.monotonic() > since + MOST_SECONDS:
                idle.append(level)
                break
    if idle:
        pytest.skip(f"same results, but other work had the cores and helpers computed nothing: {idle}")


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("workers, comes", [(2, True), (5, True), (2, False)])
def test_more_threads_find_the_same_top_tokens(
    workers: int, comes: bool, kernels: dict[str, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, helped = next(iter(kernels.values())), 0
    for make, config in ((decoder_for, PREVIEWED["gemma"]), (with_svd_head, GEMMA), (decoder_for, GEMMA)):
        x = states(config)
        alone = final_tops(make(kernel, config), x)  # whose previews are small
        with monkeypatch.context() as patch:
            use(patch, workers)
            patch.setattr(kernel_decoder, "_SHARED_BYTES", 0)
            shared = make(kernel, config)
            shared._threads = Watched(kernel.run_helper, comes)
            for rows in (slice(0, 150), slice(70, 71), slice(20, 25)):
                assert final_tops(shared, x[rows]) == alone[rows]
            helped += shared._threads.helped
    if comes and not helped:
        pytest.skip("same results, but other work had the cores and helpers computed nothing")


def test_without_a_helper_thread_one_thread_does_all(
    kernels: dict[str, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = next(iter(kernels.values()))
    use(monkeypatch, 2)
    expected, decoder = run(decoder_for(kernel, GEMMA), states(GEMMA)), decoder_for(kernel, GEMMA)
    with monkeypatch.context() as refused:
        refused.setattr(threading.Thread, "start", no_thread)
        for one, other in zip(expected, run(decoder, states(GEMMA)), strict=True):
            assert np.array_equal(one, other)
        assert decoder._threads.open(1) is None and not decoder._threads.structure.open
    assert decoder._threads.open(1) is decoder._threads.structure, "it is tried again"
    decoder._threads.structure.open = 0


def test_the_helper_thread_ends_with_the_decoder_and_does_not_keep_it_alive(
    kernels: dict[str, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, 2)
    before, decoder = set(threading.enumerate()), decoder_for(next(iter(kernels.values())), GEMMA)
    run(decoder, states(GEMMA))
    (helper,) = set(threading.enumerate()) - before
    kept = weakref.ref(decoder)
    del decoder
    gc.collect()
    helper.join(10)  # it may still have a call to answer
    assert not helper.is_alive() and kept() is None


def test_after_a_stall_one_thread_works_alone_and_longer_after_more(
    kernels: dict[str, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, stalls = 0.0, 0
    with_helper: list[bool] = []
    use(monkeypatch, 2)
    monkeypatch.setattr(thread_pool.time, "monotonic", lambda: now)
    decoder = decoder_for(next(iter(kernels.values())), GEMMA)

    buffers = decoder.new_buffers(32)

    class Stalling:
        @staticmethod
        def run_layers(*arguments: Any) -> None:
            *_, pool = arguments
            with_helper.append(pool is not None)
            if pool is not None:
                pool.stalls, pool.open = stalls, 0

    decoder.kernel = Stalling()  # type: ignore[assignment]

    def step(at: float) -> bool:
        nonlocal now
        now = at
        decoder.run_layers(1, 2, buffers, 0, 1)
        return with_helper[-1]

    assert step(0.0) and step(0.001)
    stalls = 1
    assert step(0.010) and not step(0.012)
    assert step(0.016), "the helper is tried again"
    assert not step(0.022) and step(0.030), "twice as long"
    stalls = 0
    assert not step(0.040) and step(0.060)
    stalls = 1
    assert step(0.070) and not step(0.072) and step(0.080), "a call without a stall resets the pause"


def test_a_small_batch_has_few_threads_and_a_prompt_one_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_pool, "usable_cores", lambda: 12)
    monkeypatch.setattr(thread_pool.psutil, "cpu_count", lambda logical: 16 if logical else 8)
    assert most_workers() == 8
    assert [workers_for(rows, 8) for rows in (1, 4, 5, 256)] == [2, 2, 8, 8]
    monkeypatch.setattr(thread_pool, "usable_cores", lambda: 1)
    assert most_workers() == 1
    assert [workers_for(rows, 1) for rows in (1, 256)] == [1, 1]


def test_a_call_does_not_count_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system is asked for each core, which takes longer than a layer of a token."""
    pool = ThreadPool(lambda pool, worker: None)
    monkeypatch.setattr(thread_pool.psutil, "cpu_count", lambda logical: pytest.fail("the cores are counted"))
    pool.open(1)
    pool.structure.open = 0


def check_thread_pool(folder: Path, *flags: str) -> None:
    program, sources = folder / "thread_pool_check", Path(thread_pool.__file__).parent
    compiler = (sys.executable, "-m", "ziglang", "cc", "-std=gnu11", *WARNINGS, "-pthread", f"-I{sources}")
    subprocess.run([*compiler, *flags, str(HERE / "thread_pool_check.c"), "-o", str(program)], check=True)
    ended = subprocess.run([program], capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]


@pytest.mark.skipif(sys.platform == "win32", reason="a program for POSIX threads")
def test_parts_are_computed_once_and_a_wait_leaves_the_core(tmp_path: Path) -> None:
    check_thread_pool(tmp_path, "-O2")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the compiler has a thread sanitizer for Linux")
def test_the_thread_sanitizer_finds_no_race(tmp_path: Path) -> None:
    check_thread_pool(tmp_path, "-O1", "-fsanitize=thread")
