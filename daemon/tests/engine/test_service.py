"""The service over a real socket with a fake model: every request is answered, with the right reason."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from green_code.engine import loaded_model
from green_code.engine.loaded_model import SESSIONS_AT_MOST
from green_code.engine.service import JOBS_AT_MOST
from green_code.link import client as client_module
from green_code.link import framing, messages
from green_code.link.client import open_client
from green_code.problems import Problem
from green_code.report import Totals
from tests.engine.fake_runtime import WAIT_SECONDS, completion_params
from tests.engine.service_rig import Rig, complete, reason_of, until


@pytest.mark.asyncio
async def test_a_completion_waits_for_loading_and_is_recorded(rig: Rig) -> None:
    client = await rig.client()
    task = complete(client)
    await until(lambda: "loading" in rig.states())
    assert not task.done()
    rig.open_gates()
    result = await asyncio.wait_for(task, WAIT_SECONDS)
    assert result["text"] == " + 1" and result["id"]
    client.notify(messages.SHOWN, {"id": result["id"], "characters": len(" + 1")})
    client.notify(messages.ACCEPTED, {"id": result["id"]})
    await until(lambda: rig.rows() == [("end_of_line", "python", 2, 1)])
    [row] = rig.ledger.rows()
    assert row.shown == 1 and row.characters == row.accepted_characters == len(" + 1")
    report = await client.request(messages.REPORT, {})
    assert report["today"]["completions"] == 1 and report["today"]["saving"] == pytest.approx(0.5)
    await until(lambda: "ready" in rig.states())
    status = await client.request(messages.STATUS, {})
    assert status["model"] == "fake" and status["layers_total"] == 18 and status["exits"] == [6, 12, 18]


@pytest.mark.asyncio
async def test_a_completion_is_accepted_word_by_word_and_counts_once(rig: Rig) -> None:
    rig.open_gates()
    client = await rig.client()
    result = await complete(client)
    client.notify(messages.SHOWN, {"id": result["id"], "characters": 4})
    for characters in (2, 1, 99):
        client.notify(messages.ACCEPTED, {"id": result["id"], "characters": characters})
    client.notify(messages.RETAINED, {"id": result["id"]})
    client.notify(messages.ACCEPTED, {"id": result["id"], "characters": 0})
    await complete(client, "nothing")  # also: notifications are handled in order

    def totals() -> list[dict[str, Any]]:
        sent = rig.notified(messages.ENERGY)
        return [sent[-1]["today"], sent[-1]["session"]] if sent else []

    await until(lambda: totals() and totals()[1]["completions"] == 2)
    for total in totals():
        keys = ("completions", "shown", "accepted", "retained", "characters", "accepted_characters")
        assert [total[key] for key in keys] == [2, 1, 1, 1, len(" + 1"), len(" + 1")]


@pytest.mark.asyncio
async def test_no_session_counts_what_today_lacks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.open_gates()
    client, read, counted, today = await rig.client(), threading.Event(), threading.Event(), rig.ledger.today

    def slow_today() -> Totals:
        totals = today()
        read.set()
        assert counted.wait(WAIT_SECONDS)
        return totals

    monkeypatch.setattr(rig.ledger, "today", slow_today)
    await complete(client)
    await until(read.is_set)
    await complete(client)
    counted.set()
    await until(lambda: len(rig.notified(messages.ENERGY)) == 2)
    counts = [(one["today"]["completions"], one["session"]["completions"]) for one in rig.notified(messages.ENERGY)]
    assert counts == [(1, 1), (2, 2)]


@pytest.mark.asyncio
async def test_wrong_counts_of_characters_change_nothing(rig: Rig) -> None:
    rig.open_gates()
    client = await rig.client()
    result = await complete(client)
    wrong: list[Any] = [-1, True, 1.5, "2", [2], 1 << 63]
    for characters in wrong:
        client.notify(messages.ACCEPTED, {"id": result["id"], "characters": characters})
        client.notify(messages.SHOWN, {"id": result["id"], "characters": characters})
    client.notify(messages.SHOWN, {"id": result["id"]})
    total = (await client.request(messages.REPORT, {}))["all"]
    assert total["completions"] == 1 and total["accepted"] == total["shown"] == 0, "computed, and nobody saw it"


@pytest.mark.asyncio
async def test_the_newest_request_of_a_session_supersedes_waiting_and_running_ones(rig: Rig) -> None:
    client = await rig.client()
    rig.loader.loaded.set()
    running = complete(client, "one")
    await until(lambda: rig.loader.runtimes and rig.loader.runtimes[0].started == ["one"])
    waiting, other = complete(client, "two"), complete(client, "other", session="b")
    newest = complete(client, "three")
    assert await reason_of(running) == "superseded"
    assert await reason_of(waiting) == "superseded"
    await until(lambda: rig.loader.runtimes[0].stopped == ["superseded"])
    rig.loader.gate.set()
    assert (await asyncio.wait_for(newest, WAIT_SECONDS))["text"]
    assert (await asyncio.wait_for(other, WAIT_SECONDS))["text"]
    runtime = rig.loader.runtimes[0]
    assert "two" not in runtime.started
    await until(lambda: len(rig.rows()) == 3)
    assert [row[0] for row in rig.rows()].count("superseded") == 1  # it ran, so its joules count
    assert rig.ledger.today()["completions"] == 2


@pytest.mark.asyncio
async def test_cancelling_reaches_the_compute_thread(rig: Rig) -> None:
    client = await rig.client()
    rig.loader.loaded.set()
    task = complete(client)
    await until(lambda: rig.loader.runtimes and rig.loader.runtimes[0].started)
    task.cancel()
    await until(lambda: rig.loader.runtimes[0].stopped == ["cancelled"])


@pytest.mark.asyncio
async def test_a_peer_that_disconnects_cancels_its_requests(rig: Rig) -> None:
    client = await rig.client()
    rig.loader.loaded.set()
    task = complete(client)
    await until(lambda: rig.loader.runtimes and rig.loader.runtimes[0].started)
    await client.close()
    assert await reason_of(task) == "engine_lost"
    await until(lambda: rig.loader.runtimes[0].stopped == ["cancelled"])


@pytest.mark.asyncio
@pytest.mark.parametrize(("prefix", "reason"), [("raise", "internal_error"), ("problem", "bundle_invalid")])
async def test_a_failing_completion_answers_and_the_next_one_works(rig: Rig, prefix: str, reason: str) -> None:
    client = await rig.client()
    rig.open_gates()
    assert await reason_of(complete(client, prefix)) == reason
    assert (await complete(client))["text"]
    assert len(rig.loader.runtimes[0].sessions) == 2, "a session that raised is not used again"


@pytest.mark.asyncio
async def test_sessions_are_evicted_by_recency(rig: Rig) -> None:
    client = await rig.client()
    rig.open_gates()
    for number in range(SESSIONS_AT_MOST):
        await complete(client, session=f"s{number}")
    await complete(client, session="s0")
    await complete(client, session="one too many")
    sessions = rig.loader.runtimes[0].sessions
    assert [session.trimmed for session in sessions[:2]] == [False, True]


@pytest.mark.asyncio
async def test_sessions_are_evicted_by_their_bytes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_model, "SESSION_BYTES", 2500)  # a stand-in session has 1,000
    client = await rig.client()
    rig.open_gates()
    for name in "abc":
        await complete(client, session=name)
    assert [session.trimmed for session in rig.loader.runtimes[0].sessions] == [True, False, False]


@pytest.mark.asyncio
async def test_sessions_end_with_their_window_while_another_lives(rig: Rig) -> None:
    one, other = await rig.client(), await rig.client()
    rig.open_gates()
    await complete(one, session="one")
    await complete(other, session="other")
    await one.close()
    sessions = rig.loader.runtimes[0].sessions
    await until(lambda: sessions[0].trimmed)
    await complete(other, session="other")
    assert len(sessions) == 2 and not sessions[1].trimmed


@pytest.mark.asyncio
async def test_a_cancel_in_the_same_packet_as_its_request_is_heard(rig: Rig) -> None:
    client = await rig.client()
    rig.open_gates()
    await complete(client)
    for number in range(1000, 1050):
        answer = asyncio.get_running_loop().create_future()
        client._pending[number] = client_module._Request(answer)
        request = {"id": number, "method": messages.COMPLETE, "params": completion_params(f"x = {number}")}
        cancel = {"method": messages.CANCEL, "params": {"id": number}}
        client._writer.write(framing.encode(request) + framing.encode(cancel))
        assert await reason_of(asyncio.ensure_future(answer)) == "cancelled"
    assert rig.loader.runtimes[0].started == ["x = 1"]


@pytest.mark.asyncio
async def test_requests_that_wait_are_limited(rig: Rig) -> None:
    client = await rig.client()
    waiting = [complete(client, session=str(number)) for number in range(JOBS_AT_MOST)]
    assert await reason_of(complete(client, session="one too many")) == "bad_request"
    rig.open_gates()
    assert all(result["text"] for result in await asyncio.wait_for(asyncio.gather(*waiting), WAIT_SECONDS))


@pytest.mark.asyncio
async def test_a_threshold_is_put_in_force_only_where_the_agent_decides(rig: Rig) -> None:
    client = await rig.client()
    rig.open_gates()
    for changes in ({}, {"decoding": "exact"}, {"policy": "fixed:12"}):
        await complete(client, threshold="balanced", **changes)
    thresholds = [row.threshold for row in rig.ledger.rows()]
    assert thresholds == ["0.6", "balanced", "balanced"]


@pytest.mark.asyncio
async def test_a_peer_that_does_not_read_is_disconnected(rig: Rig) -> None:
    client = await rig.client()
    client._reading.cancel()
    [connection] = rig.service._peers
    for _ in range(40):
        connection.notify(messages.STATUS, {"message": "x" * 500_000})
    await until(lambda: not rig.service._peers)
    assert await (await rig.client()).request(messages.STATUS, {})


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prefix": 3}, "prefix"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"decoding": "slow"}, "decoding"),
        ({"policy": "fixed:0"}, "policy"),
        ({"threshold": 0.2}, "threshold"),
        ({"threshold": "cheap"}, "threshold"),
        ({"temperature": 1.0}, "temperature"),
        ({"stop": 1.0}, "stop"),
        ({"stop": "often"}, "stop"),
        ({"stop": float("nan")}, "stop"),
        ({"place": 0.5}, "place"),
        ({"place": [0.0] * 257}, "place"),
        ({"place": [float("inf")]}, "place"),
        ({"place": [True]}, "place"),
        ({"place": ["0"]}, "place"),
        ({"snippets": "x"}, "snippets"),
        ({"snippets": ["x = 1"]}, "snippets"),
        ({"snippets": [{"path": "a.py", "text": 1}]}, "snippets"),
        ({"snippets": [{"path": "a.py", "text": "x", "rank": "1"}]}, "snippets"),
        ({"snippets": [{"path": "a.py", "text": "x"}] * 9}, "snippets"),
    ],
)
async def test_bad_parameters_are_named(rig: Rig, change: dict[str, Any], named: str) -> None:
    client = await rig.client()
    with pytest.raises(Problem, match=named) as caught:
        await complete(client, **change)
    assert caught.value.reason == "bad_request"


@pytest.mark.asyncio
async def test_a_request_has_a_deadline_but_while_a_model_loads(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PING_SECONDS", 0.3)
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.6)
    client = await rig.client()
    task = complete(client)
    await asyncio.sleep(1.2)
    assert not task.done(), "loading may take its time"
    rig.loader.loaded.set()
    assert await reason_of(task) == "engine_hanging"
    [runtime] = rig.loader.runtimes
    await until(lambda: runtime.stopped == ["cancelled"])
    assert client.alive and not client.hangs, "it answered the pings"


@pytest.mark.asyncio
async def test_energy_goes_to_peers_that_completed_and_at_most_once_a_second(rig: Rig) -> None:
    rig.open_gates()
    await rig.client()
    received: list[dict[str, Any]] = []
    client = await open_client(
        rig.address, on_notification=lambda method, value: received.append(value) if method == "energy" else None
    )
    rig.clients.append(client)
    started = time.monotonic()
    for _ in range(4):
        await complete(client)
    await complete(client, "in the dark", stop=0.4)
    await until(lambda: len(received) >= 2 or time.monotonic() - started > 2)
    assert len(received) == 2 and time.monotonic() - started >= 0.9
    assert received[-1]["session"]["completions"] == 5 and received[-1]["mean_layers"] == 9
    assert received[-1]["last_exits"] == [6, 12] and received[-1]["model"] == "fake"
    assert set(received[-1]) == set(messages.EnergyMessage.__annotations__)
    assert not [value for method, value in rig.notifications if method == "energy"], "the other peer completed nothing"


@pytest.mark.asyncio
async def test_shutdown_answers_first(rig: Rig) -> None:
    client = await rig.client()
    assert await client.request(messages.SHUTDOWN, {}) == {}
    await asyncio.wait_for(rig.stopped.wait(), WAIT_SECONDS)


@pytest.mark.asyncio
async def test_closing_answers_waiting_requests(rig: Rig) -> None:
    client = await rig.client()
    task = complete(client)
    await until(lambda: rig.loader.calls)
    rig.service.close()
    assert await reason_of(task) == "engine_lost"


@pytest.mark.asyncio
async def test_an_unwritable_ledger_is_reported_while_completions_go_on(rig: Rig) -> None:
    client = await rig.client()
    rig.open_gates()
    rig.ledger.today()  # it is open
    rig.ledger.path.unlink()
    rig.ledger.path.mkdir()  # in the way
    await complete(client)
    await complete(client)
    await until(lambda: "cache_unwritable" in [value["reason"] for value in rig.notified(messages.STATUS)])
    await complete(client)
    for status in (rig.notified(messages.STATUS)[-1], await client.request(messages.STATUS, {})):
        assert (status["state"], status["reason"]) == ("ready", "cache_unwritable")
        assert "GREEN_CODE_DATA_DIR" in status["message"]
    rig.ledger.path.rmdir()
    assert rig.ledger.today()["completions"] == 3, "its rows have waited"
    await until(lambda: not rig.service._work)
    rig.now += 1
    rig.service.idle_tick()
    await until(lambda: [value["reason"] for value in rig.notified(messages.STATUS)][-1] is None)


@pytest.mark.asyncio
async def test_that_the_ledger_was_removed_is_said_once_to_all_windows_whatever_their_models_do(rig: Rig) -> None:
    rig.open_gates()
    drive = rig.loader.held["slow"] = threading.Event()
    client, other = await rig.client(), await rig.client(model="slow")
    await complete(client)
    rig.ledger.today()
    await until(lambda: "slow" in rig.loader.calls)
    rig.ledger.path.unlink()
    await complete(client)
    rig.ledger.today()
    assert (await other.request(messages.STATUS, {}))["state"] == "loading"
    for _ in range(2):
        rig.service.idle_tick()
        await complete(client)
    drive.set()
    await complete(other, model="slow")
    said = [value["message"] for value in rig.notified(messages.WARNING)]
    assert len(said) == 2 and said[0] == said[1] and "was removed while the engine ran" in said[0]
    assert (await client.request(messages.STATUS, {}))["reason"] is None, "rows are written again"


@pytest.mark.asyncio
async def test_what_happened_to_the_ledger_while_nobody_was_there_is_said_to_the_next_window(rig: Rig) -> None:
    rig.open_gates()
    client = await rig.client()
    await complete(client)
    rig.ledger.today()
    await client.close()
    await until(lambda: not rig.service._peers)
    rig.ledger.path.unlink()
    rig.ledger.today()
    rig.service.idle_tick()
    assert not rig.notified(messages.WARNING)
    next_one = await rig.client()
    rig.service.idle_tick()
    await next_one.request(messages.STATUS, {})
    assert len(rig.notified(messages.WARNING)) == 1


@pytest.mark.asyncio
async def test_an_unknown_method_is_refused(rig: Rig) -> None:
    client = await rig.client()
    with pytest.raises(Problem, match="no method"):
        await client.request("dance", {})
