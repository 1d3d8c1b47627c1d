"""Whatever the parameters of a message are: they are right, or `bad_request` says in one short sentence what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from green_code import __version__
from green_code.link import framing, messages, transport
from green_code.link.checks import checked
from green_code.models.catalog import find_model
from green_code.problems import ECHO_CHARACTERS, Problem, shown
from tests.engine.fake_runtime import WAIT_SECONDS, completion_params
from tests.engine.service_rig import Rig, complete
from tests.examples import examples
from tests.hostile.strategies import (
    LONG_TEXT,
    MODELS_THAT_ARE_NONE,
    NEVER_RIGHT,
    WRONG_TEXTS,
    methods,
    nested,
    packable,
    right,
)

SENTENCE_CHARACTERS = 500
"""Of a message: an echo, and the names of what would be right."""
GOOD: dict[str, dict[str, Any]] = {
    messages.HELLO: {
        "protocol": messages.PROTOCOL,
        "version": __version__,
        "model": "fake",
        "device": "auto",
        "gpu_reserve": 1.0,
        "window": "one",
    },
    messages.COMPLETE: {**completion_params()},
    messages.CANCEL: {"id": 3},
    messages.SHOWN: {"id": "a", "characters": 1},
    messages.ACCEPTED: {"id": "a", "characters": 1},
    messages.RETAINED: {"id": "a"},
    messages.API_KEY: {"endpoint": "https://host:443", "api_key": "sk-1"},
    messages.STATUS: {},
    messages.REPORT: {},
    messages.SHUTDOWN: {},
}
FIELDS = [(method, name) for method, params in GOOD.items() for name in params]


def refusal(method: str, params: dict[str, Any]) -> str:
    with pytest.raises(Problem) as caught:
        checked(messages.PARAMS[method], params, method)
    assert caught.value.reason == "bad_request" and len(str(caught.value)) <= SENTENCE_CHARACTERS
    return str(caught.value)


def is_right_after_all(method: str, name: str, value: Any) -> bool:
    is_any_number = (method, name) in ((messages.CANCEL, "id"), (messages.HELLO, "protocol"))
    return (is_any_number and type(value) is int) or (
        method == messages.ACCEPTED and name == "characters" and value is None
    )


@pytest.mark.parametrize(("method", "name"), FIELDS)
def test_no_field_takes_what_is_never_right(method: str, name: str) -> None:
    assert checked(messages.PARAMS[method], GOOD[method], method) == GOOD[method]
    for value in NEVER_RIGHT.values():
        if not is_right_after_all(method, name, value):
            assert name in refusal(method, {**GOOD[method], name: value})
    for value in WRONG_TEXTS.get(name, ()):
        if (method, name) != (messages.HELLO, "version"):  # another version's is refused before
            assert name in refusal(method, {**GOOD[method], name: value})
    if name in messages.PARAMS[method].__required_keys__:
        without = {key: value for key, value in GOOD[method].items() if key != name}
        assert f"{name} is missing" in refusal(method, without)


@pytest.mark.parametrize("method", GOOD)
def test_no_message_takes_an_unknown_field(method: str) -> None:
    for name in ("temperature", LONG_TEXT, b"prefix"):
        assert "no parameter" in refusal(method, {**GOOD[method], name: 1})


def test_the_list_of_messages_is_whole() -> None:
    assert GOOD.keys() == messages.PARAMS.keys()
    for method, shape in messages.PARAMS.items():
        assert GOOD[method].keys() == get_type_hints(shape).keys()


@examples(150, derandomize=True)
@given(st.data())
def test_right_parameters_are_taken_and_others_are_refused_in_a_short_sentence(data: st.DataObject) -> None:
    method = data.draw(methods)
    params = data.draw(right(messages.PARAMS[method]))
    assert checked(messages.PARAMS[method], params, method) == params
    names = [*get_type_hints(messages.PARAMS[method]), "x"]
    changed = {**params, data.draw(st.sampled_from(names)): data.draw(packable)}
    try:
        checked(messages.PARAMS[method], changed, method)
    except Problem as problem:
        assert problem.reason == "bad_request" and len(str(problem)) <= SENTENCE_CHARACTERS


@examples(100, derandomize=True)
@given(packable)
def test_an_echo_is_short(value: Any) -> None:
    assert len(shown(value)) <= ECHO_CHARACTERS


@pytest.mark.parametrize("value", [LONG_TEXT, nested(5000), {"x" * 9999: nested(900)}, 10**4000, b"\0" * 10_000_000])
def test_an_echo_of_what_is_huge_is_short(value: Any) -> None:
    assert len(shown(value)) <= ECHO_CHARACTERS


@pytest.mark.parametrize("name", MODELS_THAT_ARE_NONE)
def test_a_name_that_no_model_has_is_a_missing_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problem) as caught:
        find_model(name).open()
    assert caught.value.reason in ("model_missing", "model_damaged")


def test_links_that_lead_nowhere_are_missing_models(tmp_path: Path) -> None:
    for name, target in (
        ("gone", tmp_path / "nothing"),
        ("loop", tmp_path / "loop"),
        ("gone.gguf", tmp_path / "x.gguf"),
    ):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(Problem) as caught:
            find_model(str(tmp_path / name))
        assert caught.value.reason == "model_missing"


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    await rig.server.start(rig.address)
    rig.open_gates()
    yield rig
    for client in rig.clients:
        await client.close()
    rig.service.close()
    await rig.server.stop()
    rig.ledger.close()


@pytest.mark.asyncio
async def test_the_engine_answers_each_and_goes_on(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    client = await rig.client()
    for method, name in FIELDS:
        for value in (*NEVER_RIGHT.values(), *WRONG_TEXTS.get(name, ())[1:]):
            if method in (messages.HELLO, messages.SHUTDOWN) or is_right_after_all(method, name, value):
                continue
            params = {**GOOD[method], name: value}
            client.notify(method, params)
            with pytest.raises(Problem) as caught:
                await asyncio.wait_for(client.request(method, params), WAIT_SECONDS)
            assert caught.value.reason == "bad_request", (method, name)
    with pytest.raises(Problem, match="no method") as caught:
        await client.request("x" * 100_000, {})
    assert caught.value.reason == "bad_request" and len(str(caught.value)) <= SENTENCE_CHARACTERS
    assert (await complete(client))["text"] == " + 1"
    assert not [record for record in caplog.records if record.exc_info], "no traceback"


@pytest.mark.asyncio
@pytest.mark.parametrize("change", [{"model": 1}, {"model": nested(400)}, {"model": "\0"}, {"mood": "good"}])
async def test_a_bad_hello_is_answered_and_gives_no_connection(rig: Rig, change: dict[str, Any]) -> None:
    reader, writer = await transport.connect(rig.address)
    writer.write(framing.encode({"id": 1, "method": "hello", "params": {**GOOD[messages.HELLO], **change}}))
    [answer] = framing.Decoder().feed(await reader.read(10_000))
    assert answer["error"]["code"] == "bad_request"
    writer.write(framing.encode({"id": 2, "method": "status", "params": {}}))
    assert await asyncio.wait_for(reader.read(), WAIT_SECONDS) == b""
    await transport.close(writer)


@pytest.mark.asyncio
@pytest.mark.parametrize("field", ["protocol", "version"])
async def test_a_hello_of_another_version_is_told_so_whatever_it_holds(rig: Rig, field: str) -> None:
    for value in (nested(400), LONG_TEXT[:50_000], None, {}):
        reader, writer = await transport.connect(rig.address)
        writer.write(
            framing.encode({"id": 1, "method": "hello", "params": {**GOOD[messages.HELLO], field: value, "x": 1}})
        )
        [answer] = framing.Decoder().feed(await reader.read(10_000))
        assert answer["error"]["code"] == "other_version" and len(answer["error"]["message"]) <= SENTENCE_CHARACTERS
        await transport.close(writer)


@pytest.mark.asyncio
async def test_a_second_hello_is_refused_and_changes_nothing(rig: Rig) -> None:
    client = await rig.client()
    with pytest.raises(Problem, match="one hello"):
        await client.request(messages.HELLO, GOOD[messages.HELLO])
    assert (await complete(client))["text"] == " + 1"
