"""Shadow checks: what is checked and when, what it may cost, and when the threshold goes up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from green_code.engine.shadow import BLOCK, IDLE_SECONDS, LEVEL, SHARE, Candidate, ShadowChecks, at_most
from green_code.link import messages
from green_code.link.messages import CompletionResult
from tests.engine.fake_runtime import WAIT_SECONDS, FakeRuntime, completion_params, result_for
from tests.engine.service_rig import Rig, complete, until

CALIBRATION = {
    "curve": [
        {"threshold": 0.6, "agreement": 0.5},
        {"threshold": 0.8, "agreement": 0.9},
        {"threshold": 0.9, "agreement": 0.95},
    ]
}


PARAMS = completion_params()


def candidate(
    threshold: float = 0.8, text: str = " + 1", reason: str = "end_of_line", joules: float = 0.25, **changes: Any
) -> Candidate:
    params = completion_params(threshold=threshold, **changes)
    return Candidate(None, params, {**result_for(params, text, reason), "energy_joules": joules})


def full_depth(text: str, reason: str = "end_of_line") -> CompletionResult:
    return result_for(PARAMS, text, reason)


def test_the_binomial_test_is_the_binomial_distribution() -> None:
    scipy = pytest.importorskip("scipy.stats")
    for successes, probability in ((0, 0.1), (7, 0.5), (15, 0.9), (20, 0.9)):
        assert at_most(successes, 20, probability) == pytest.approx(scipy.binom.cdf(successes, 20, probability))


def test_only_what_exits_decided_is_checked_and_only_while_idle_on_mains() -> None:
    battery = False
    checks = ShadowChecks(CALIBRATION, lambda: battery)
    nothing = (candidate(text=""), candidate(text="", reason="unlikely"), candidate(text="\n    pass"))
    for other in (*nothing, candidate(decoding="exact"), candidate(policy="fixed:6"), candidate(1.0)):
        checks.completed(other)
        assert checks.due(IDLE_SECONDS) is None
    checks.completed(candidate(reason="budget"))
    assert checks.due(IDLE_SECONDS) is None, "it was cut short: full depth would give more"
    checks.completed(candidate())
    assert checks.due(IDLE_SECONDS - 1) is None
    battery = True
    assert checks.due(IDLE_SECONDS) is None
    battery = False
    assert checks.due(IDLE_SECONDS) == candidate()
    assert checks.due(IDLE_SECONDS) is None, "once"


def test_without_a_calibration_nothing_can_be_expected() -> None:
    checks = ShadowChecks({}, lambda: False)
    checks.completed(candidate())
    assert checks.due(IDLE_SECONDS) is None and checks.agreement is None


@pytest.mark.parametrize(
    ("fast", "full", "agree"),
    [
        ((" + 1", "end_of_line"), (" + 1", "end_of_line"), True),
        ((" + 1", "end_of_line"), (" + 10", "end_of_line"), False),
        ((" + 1", "end_of_line"), ("", "empty"), False),
        ((" + 1", "unsure"), (" + 10", "end_of_line"), True),  # the stop cut the first: it shows nothing else
        ((" + 10", "end_of_line"), (" + 1", "unsure"), True),
        ((" + 10", "unsure"), (" + 1", "unsure"), True),
        ((" + 10", "unsure"), (" + 1", "end_of_line"), False),  # full depth ends the line there
        ((" - 1", "unsure"), (" + 1", "unsure"), False),
        ((" + 1\nx = ", "end_of_block"), (" + 1", "end_of_line"), True),  # lines after the first one are not compared
        ((" + 1\nx = ", "unsure"), (" + 10", "end_of_line"), False),  # the stop did not cut the first line
        ((" + 1\nx = ", "unsure"), (" +", "unsure"), True),
        ((" + 1", "end_of_line"), ("", "unlikely"), None),  # nothing to compare
        ((" + 1", "end_of_line"), (" +", "budget"), None),
    ],
)
def test_first_lines_are_compared_as_far_as_the_stop_let_both_go(
    fast: tuple[str, str], full: tuple[str, str], agree: bool | None
) -> None:
    checks = ShadowChecks(CALIBRATION, lambda: False)
    checks.checked(candidate(text=fast[0], reason=fast[1], stop=0.4), full_depth(*full))
    agreement = checks.agreement
    assert (agreement and (agreement["checks"], agreement["agreed"])) == (None if agree is None else (1, int(agree)))


def test_a_check_repeats_the_request_for_one_line_with_its_stop() -> None:
    one = candidate(text=" + 1\nx = 2", single_line=False, max_lines=8, stop="sure", place=[0.5])
    checks = ShadowChecks(CALIBRATION, lambda: False)
    checks.completed(one)
    due = checks.due(IDLE_SECONDS)
    assert due == one
    changes = {"decoding": "exact", "single_line": True, "max_lines": 1}
    assert due.at_full_depth() == {**one.params, **changes}


def test_checks_cost_a_twentieth_of_the_completions_in_the_long_run() -> None:
    checks, spent, check_joules = ShadowChecks(CALIBRATION, lambda: False), 0.0, 2.0
    for _ in range(1000):
        checks.completed(candidate(joules=0.25))
        if checks.due(IDLE_SECONDS) is not None:
            spent += check_joules
            checks.spent(check_joules)
    assert spent <= SHARE * 1000 * 0.25 + check_joules


def test_a_block_that_disagrees_raises_the_threshold_step_by_step_to_full_depth() -> None:
    checks = ShadowChecks(CALIBRATION, lambda: False)
    assert checks.least_threshold == 0
    for raised_to in (0.9, 1.0):
        for n in range(BLOCK):
            checks.checked(candidate(checks.least_threshold or 0.8), full_depth(" + 1" if n % 2 else " + 2"))
        assert checks.least_threshold == raised_to
    agreement = checks.agreement
    assert agreement == {"checks": BLOCK, "agreed": BLOCK // 2, "calibrated": 0.95, "raised_to": 1.0}, "of 0.9's block"


def test_a_block_that_agrees_as_calibrated_raises_nothing() -> None:
    checks = ShadowChecks(CALIBRATION, lambda: False)
    worst = next(n for n in range(BLOCK + 1) if at_most(n, BLOCK, 0.9) >= LEVEL)
    for n in range(BLOCK):
        checks.checked(candidate(), full_depth(" + 1" if n < worst else "other"))
    assert checks.least_threshold == 0 and checks.agreement == {
        "checks": BLOCK, "agreed": worst, "calibrated": 0.9, "raised_to": None,
    }  # fmt: skip


def test_a_block_is_of_one_threshold() -> None:
    checks = ShadowChecks(CALIBRATION, lambda: False)
    for n in range(2 * BLOCK):  # the slider moves all the time: no block is ever whole
        checks.checked(candidate(0.8 if n % 2 else 0.9), full_depth("other"))
    assert checks.least_threshold == 0
    assert checks.agreement == {"checks": 1, "agreed": 0, "calibrated": 0.9, "raised_to": None}


async def one_check(rig: Rig, client: Any, prefix: str) -> None:
    """A completion, a pause, and its check."""
    await asyncio.wait_for(complete(client, prefix), WAIT_SECONDS)
    await until(lambda: not rig.service._work)
    checks = len([row for row in rig.rows() if row[0] == "check"])
    rig.now += IDLE_SECONDS
    rig.service.idle_tick()
    await until(lambda: len([row for row in rig.rows() if row[0] == "check"]) == checks + 1)


@pytest.mark.asyncio
async def test_in_service_a_check_counts_and_an_alarm_raises_the_threshold(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeRuntime, "calibration", CALIBRATION, raising=False)
    monkeypatch.setattr("green_code.engine.shadow.SHARE", 10.0)
    rig.open_gates()
    client = await rig.client()
    for _ in range(BLOCK):
        await one_check(rig, client, "hard")
    status = await client.request(messages.STATUS, {})
    assert status["agreement"] == {"checks": BLOCK, "agreed": 0, "calibrated": 0.9, "raised_to": 0.9}
    assert rig.ledger.today()["completions"] == BLOCK, "checks are no completions"
    assert rig.ledger.today()["energy_joules"] == pytest.approx(2 * BLOCK * 0.25), "and their joules count"
    await asyncio.wait_for(complete(client, "x"), WAIT_SECONDS)
    *_, newest = rig.ledger.rows()
    assert newest.threshold == "0.9", "0.8 was requested"


@pytest.mark.asyncio
async def test_agreement_persists_while_the_model_is_released(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRuntime, "calibration", CALIBRATION, raising=False)
    rig.open_gates()
    client = await rig.client()
    await one_check(rig, client, "hard")
    await until(lambda: not rig.service._work)
    rig.now += 1000.0
    rig.service.idle_tick()
    assert (await client.request(messages.STATUS, {}))["model"] is None
    await asyncio.wait_for(complete(client, "x"), WAIT_SECONDS)
    assert (await client.request(messages.STATUS, {}))["agreement"]["checks"] == 1


@pytest.mark.asyncio
async def test_a_request_interrupts_a_check(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRuntime, "calibration", CALIBRATION, raising=False)
    rig.open_gates()
    client = await rig.client()
    await asyncio.wait_for(complete(client, "x"), WAIT_SECONDS)
    await until(lambda: not rig.service._work)
    rig.loader.gate.clear()
    rig.now += IDLE_SECONDS
    rig.service.idle_tick()
    runtime = rig.loader.runtimes[0]
    await until(lambda: runtime.started == ["x", "x"])
    task = complete(client, "y")
    await until(lambda: runtime.stopped == ["superseded"])
    rig.loader.gate.set()
    assert (await asyncio.wait_for(task, WAIT_SECONDS))["text"]
    status = await client.request(messages.STATUS, {})
    assert status["agreement"] is None, "an interrupted check does not count"
