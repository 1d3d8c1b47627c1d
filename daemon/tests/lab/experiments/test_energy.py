"""Windows over a model whose energy is known: what is counted, in which order, and what the page says of it."""

from __future__ import annotations

import pytest
from green_code.engine.runtime import Runtime, load_runtime

from green_code.energy.meters import Source
from green_code.models.catalog import TINY
from green_code.problems import Problem
from green_code_lab.experiments import energy, energy_page

LAYER_JOULES, HEAD_JOULES = 2.0, 5.0


class CountingMeter:
    """LAYER_JOULES per position through a layer of `runtime`, HEAD_JOULES per run of its head."""

    source: Source = "rapl"

    def __init__(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.joules: float | None = 0.0
        run_layers, look = runtime.decoder.run_layers, runtime.decoder.look

        def counted_layers(first, last, states, start, stop, *rest):  # type: ignore[no-untyped-def]
            self.add(LAYER_JOULES * (last + 1 - first) * (stop - start))
            run_layers(first, last, states, start, stop, *rest)

        def counted_head(*asked):  # type: ignore[no-untyped-def]
            self.add(HEAD_JOULES)
            return look(*asked)

        monkeypatch.setattr(runtime.decoder, "run_layers", counted_layers)
        monkeypatch.setattr(runtime.decoder, "look", counted_head)

    def add(self, joules: float) -> None:
        if self.joules is not None:
            self.joules += joules

    def read_joules(self) -> float | None:
        return self.joules

    def describe(self) -> str:
        return "counting"


@pytest.fixture
def runtime() -> Runtime:
    return load_runtime(TINY)


@pytest.fixture
def meter(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> CountingMeter:
    counting = CountingMeter(runtime, monkeypatch)
    monkeypatch.setattr(energy, "load_runtime", lambda _: runtime)
    monkeypatch.setattr(energy, "pick_meter", lambda _: counting)
    return counting


def test_a_token_is_its_layers_and_one_head_without_the_prompt(
    runtime: Runtime, meter: CountingMeter
) -> None:
    windows = energy.measure(runtime, meter, 0.001, 2, 0, lambda _: None)
    assert sorted((w.repetition, w.layer) for w in windows) == [(r, e) for r in (0, 1) for e in range(1, 7)]
    for window in windows:
        assert window.joules == pytest.approx(HEAD_JOULES + LAYER_JOULES * window.layer)
        assert window.tokens > 0


def test_every_second_repetition_is_the_one_before_reversed() -> None:
    orders = energy.orders(range(1, 19), 5, 7)
    assert [sorted(order) for order in orders] == [list(range(1, 19))] * 5
    assert orders[1] == orders[0][::-1]
    assert orders[3] == orders[2][::-1]
    assert orders[0] != orders[2]
    assert orders == energy.orders(range(1, 19), 5, 7)


def test_a_meter_that_fails_is_told(runtime: Runtime, meter: CountingMeter) -> None:
    meter.joules = None
    with pytest.raises(Problem, match="gave no readings"):
        energy.measure(runtime, meter, 0.001, 1, 0, lambda _: None)


@pytest.mark.usefixtures("meter")
def test_the_page_says_what_was_measured() -> None:
    found = energy.run(TINY, 0.001, 2, 0, lambda _: None)
    page = energy_page.page(found)
    assert (
        "saves 2000.00 mJ [2000.00, 2000.00] of a token, 11.8 % of full depth" in page
    )  # 2 J of 5 + 6 · 2 J
    assert "5000.00 mJ [5000.00, 5000.00] (intercept): 29.4 % [29.4, 29.4]" in page
    assert "| 4 | 2 | 13000.00 [13000.00, 13000.00] | 13000.00 | 76.5 % |" in page
    assert "**measured**" in page
    assert "shorter than 10 s" in page
    assert f"--window-seconds 0.001 --repetitions {2} --seed 0" in page
    found |= {"source": "estimate", "meter": "estimate: CPU-seconds of this process × 10 W per core"}
    assert "**not measured**" in energy_page.page(found)
    for interval, says in (((-0.1, 0.1), "no bend is told apart"), ((0.1, 0.2), "excludes a straight line")):
        found["line"]["bend_interval"] = interval
        assert says in " ".join(energy_page.page(found).split())
