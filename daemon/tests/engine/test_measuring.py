"""Costs in service: what is assumed before anything is measured, and when it is measured."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from green_code.energy.meters import UnknownMeter
from green_code.engine import measured_costs
from green_code.engine.assumed_costs import assumed_costs, costs_of, layer_weights
from green_code.engine.idle import MEASURE_SECONDS
from green_code.engine.service import IDLE_BOOKING_SECONDS
from green_code.models.config import FAMILIES, ModelConfig, Rope
from green_code.problems import Problem
from green_code.work import full_depth_work
from tests.engine.service_rig import Rig, complete, until

GEMMA = ModelConfig(
    family="gemma3_text", layers=18, width=640, heads=4, kv_heads=1, head_width=256, mlp_width=2048, vocabulary=262_144,
    norm_eps=1e-6, max_positions=32_768, attention_scale=0.0625, tied_head=True, windows=(512,) * 18, ropes=(Rope(1e4),) * 18,
    embedding_scale=640**0.5,
)  # fmt: skip


def decoder(config: ModelConfig, has_svd_head: bool = True, gpu: str | None = None) -> Any:
    return SimpleNamespace(config=config, has_svd_head=has_svd_head, gpu=gpu)


def test_assumed_costs_say_so_and_follow_the_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = assumed_costs(decoder(GEMMA))
    assert costs.assumed and costs.source == "estimate" and "assumed" in costs.meter
    wider = assumed_costs(decoder(replace(GEMMA, mlp_width=8192))).prices
    assert wider.layer_batch > 2 * costs.prices.layer_batch and wider.head_batch == costs.prices.head_batch
    monkeypatch.setenv("GREEN_CODE_WATTS_PER_CORE", "20")
    assert assumed_costs(decoder(GEMMA)).prices.layer_batch == pytest.approx(2 * costs.prices.layer_batch)


def test_joules_of_a_gpu_without_a_counter_are_unknown_before_and_after(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = decoder(GEMMA, gpu="GPU-1")
    gpu.build = "test"
    assert assumed_costs(gpu).source == "unknown"
    monkeypatch.setattr(measured_costs, "pick_meter", lambda gpu: UnknownMeter("the driver is not loaded"))
    with pytest.raises(Problem, match="stays unknown: no energy counter of the GPU: the driver is not loaded"):
        measured_costs.CostMeasurement(gpu, (), 0.1).step()
    assert measured_costs.CostMeasurement(gpu, (), 0.1).kept() is None
    # Who compares costs gets assumed ones, which say so.
    costs = measured_costs.measured_costs(gpu, (), 0.1, lambda *_: None)
    assert (costs.source, costs.assumed, costs.prices) == ("assumed", True, assumed_costs(gpu).prices)
    assert "the driver is not loaded; all joules are assumed" in caplog.text


@pytest.mark.asyncio
async def test_what_a_resident_model_draws_is_booked_by_the_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.open_gates()
    await rig.server.start(rig.address)
    client = await rig.client()
    await complete(client)
    runtime = rig.loader.runtimes[-1]
    runtime.idle_watts, runtime.energy_source = 50.0, "nvml"
    rig.now += IDLE_BOOKING_SECONDS - 1
    rig.service.idle_tick()
    assert all(row.reason != "idle" for row in rig.ledger.rows()), "not yet"
    rig.now += 2
    rig.service.idle_tick()
    (row,) = (row for row in rig.ledger.rows() if row.reason == "idle")
    assert row.energy_joules == row.energy_full_joules == pytest.approx(50.0 * (IDLE_BOOKING_SECONDS + 1))
    assert (row.completions, row.tokens, row.language, row.energy_source) == (0, 0, "", "nvml")
    rig.now += 4
    rig.service.close()  # what is left is booked where the model is released
    assert [row.energy_joules for row in rig.ledger.rows() if row.reason == "idle"][-1] == pytest.approx(200.0)
    report = rig.ledger.report()
    assert report["idle_joules"] == pytest.approx(50.0 * (IDLE_BOOKING_SECONDS + 1) + 200.0)
    assert report["all"]["completions"] == 1 and [each["language"] for each in report["by_language"]] == ["python"]
    await client.close()
    await rig.server.stop()
    rig.ledger.close()


@pytest.mark.asyncio
async def test_a_card_that_models_share_is_booked_once(rig: Rig) -> None:
    rig.open_gates()
    for model in "ab":
        await complete(await rig.client(), model=model)
        rig.loader.runtimes[-1].card, rig.loader.runtimes[-1].idle_watts = "GPU-1", 50.0
    await complete(await rig.client(), model="other card")
    rig.loader.runtimes[-1].card, rig.loader.runtimes[-1].idle_watts = "GPU-2", 20.0

    def booked() -> list[float]:
        return [row.energy_joules for row in rig.ledger.rows() if row.reason == "idle"]

    rig.now += IDLE_BOOKING_SECONDS
    rig.service.idle_tick()
    assert booked() == pytest.approx([50 * IDLE_BOOKING_SECONDS, 20 * IDLE_BOOKING_SECONDS])
    rig.now += 10
    next(iter(rig.service._models)).release()
    assert booked()[2:] == pytest.approx([50 * 10]), "the other one stays"
    rig.now += 5
    rig.service.close()
    assert booked()[3:] == pytest.approx([50 * 5, 20 * 15])


@pytest.mark.parametrize("name", FAMILIES)
def test_costs_are_assumed_for_every_family_and_for_four_bits(name: str) -> None:
    """Of equal shapes, only an MLP without a gate costs less; weights of four bits save reading and no multiplication."""
    shape = replace(GEMMA, family=name, mlp_width=4096)
    gemma, prices = (costs_of(each, has_svd_head=False).prices for each in (replace(GEMMA, mlp_width=4096), shape))
    share = 1.0 if FAMILIES[name].gated else layer_weights(shape) / layer_weights(replace(GEMMA, mlp_width=4096))
    assert prices.layer_batch == pytest.approx(share * gemma.layer_batch)
    assert prices.head_batch == gemma.head_batch and prices.kv_only == gemma.kv_only
    narrow = costs_of(shape, has_svd_head=False, bits=4).prices
    assert 0.5 * prices.layer_batch < narrow.layer_batch < 0.7 * prices.layer_batch
    assert (narrow.layer_position, narrow.head_batch) == (prices.layer_position, prices.head_batch)


def test_assumed_costs_come_near_a_measurement_of_another_head() -> None:
    """Measured for the whole vocabulary in 8 bits; the estimate, of 4 bits, which are 5/8 of the bytes, is made from a pruned one with
    the SVD head."""
    prices = assumed_costs(decoder(GEMMA, has_svd_head=False)).prices
    assert prices.head_batch == pytest.approx(0.0859 * 5 / 8, rel=0.3)
    assert prices.head_position == pytest.approx(0.0265, rel=0.3)


def test_assumed_costs_save_what_measured_ones_save() -> None:
    """A token that exits at layer 13 of 18, by the assumed costs and by a measurement on another day."""
    measured = {
        "layer_batch": 0.003375, "small_batch_position": 0.000672, "layer_position": 0.001119, "head_batch": 0.000564,
        "head_position": 0.00123, "decision": 0.000371, "kv_only": 6.4e-5,
    }  # fmt: skip
    prices = assumed_costs(decoder(replace(GEMMA, vocabulary=38_912))).prices
    whole, part = (full_depth_work(layers, 0, 2, 4) for layers in (18, 13))
    found, expected = (1 - p.of(part) / p.of(whole) for p in (prices, replace(prices, **measured)))
    assert found == pytest.approx(expected, abs=0.01)


async def loaded_with_assumed_costs(rig: Rig) -> tuple[Any, Any]:
    client = await rig.client()
    rig.open_gates()
    await complete(client)
    await until(lambda: not rig.service._work)
    runtime = rig.loader.runtimes[0]
    runtime.costs_assumed = True
    return client, runtime


@pytest.mark.asyncio
async def test_costs_are_measured_while_idle_and_a_request_does_not_wait(rig: Rig) -> None:
    client, runtime = await loaded_with_assumed_costs(rig)
    rig.service.idle_tick()
    await asyncio.sleep(0.02)
    assert not runtime.measuring.is_set(), "somebody has just typed"
    rig.now += MEASURE_SECONDS
    rig.service.idle_tick()
    await until(runtime.measuring.is_set)
    assert rig.service.notifications.status()["costs_assumed"]
    assert (await complete(client))["text"], "although the piece never ends by itself"
    assert runtime.pieces == 0
    await until(lambda: not rig.service._work)
    runtime.piece.set()
    rig.now += MEASURE_SECONDS
    rig.service.idle_tick()
    await until(lambda: not runtime.costs_assumed)
    await until(lambda: rig.notifications[-1][1].get("costs_assumed") is False)
    assert runtime.pieces == 3


@pytest.mark.asyncio
async def test_costs_are_not_measured_on_battery(rig: Rig) -> None:
    _, runtime = await loaded_with_assumed_costs(rig)
    rig.service._models.shared.on_battery = lambda: True
    rig.now += MEASURE_SECONDS
    rig.service.idle_tick()
    await asyncio.sleep(0.05)
    assert not runtime.measuring.is_set()


@pytest.mark.asyncio
async def test_a_failed_measurement_is_not_repeated(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    _, runtime = await loaded_with_assumed_costs(rig)
    tries = []

    def fails(_: object) -> None:
        tries.append(1)
        raise RuntimeError("no readings")

    monkeypatch.setattr(runtime, "measure_costs", fails)
    for _ in range(2):
        rig.now += MEASURE_SECONDS
        rig.service.idle_tick()
        await asyncio.sleep(0.05)
    assert len(tries) == 1 and rig.service.notifications.status()["costs_assumed"]
