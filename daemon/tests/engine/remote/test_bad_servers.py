"""Servers that hang, lie or send anything: one sentence, no word of the code or the API key, and the next request is fine."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from green_code.engine.interfaces import EndpointProblem
from green_code.engine.remote import client as client_module
from green_code.engine.remote import session as session_module
from green_code.engine.remote.answers import Piece, Unusable, models_of, piece_of, token_count
from green_code.engine.remote.runtime import connect
from green_code.engine.requests import completion_params
from green_code.problems import Problem
from tests.engine.remote.serving import Answer, Handler, Serving, models, openai, serving, streams
from tests.examples import examples

CODE, API_KEY = "password_of_the_bank = 'hunter2'", "sk-very-secret"


@pytest.fixture
def server() -> Iterator[Serving]:
    with serving() as found:
        yield found


def asked(server: Serving, address: str = "") -> Any:
    runtime = connect(address or server.address, {server.origin: API_KEY})
    try:
        params = completion_params(CODE, model=server.address, stop=0.4)
        return runtime.new_session().complete(params, lambda: None)
    finally:
        runtime.close()


def replies(status: int, content: bytes = b"{}", kind: str = "application/json", **headers: str) -> Answer:
    return lambda handler: handler.reply(status, content, kind, **headers)


def hangs(handler: Handler) -> None:
    time.sleep(1)


def stalls(handler: Handler) -> None:
    streams([openai("", -0.1)], end=b"", pause=lambda: time.sleep(1))(handler)


def pings(handler: Handler) -> None:
    handler.begin_stream()
    for _ in range(100):
        handler.wfile.write(b": still reading the prompt\n\n")
        time.sleep(0.02)


def breaks_off(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(f"data: {json.dumps(openai('', -0.1))}\n\n".encode())


def floods(handler: Handler) -> None:
    handler.begin_stream()
    for _ in range(100):
        handler.wfile.write(b"x" * 100_000)


BAD: dict[str, tuple[Answer, str]] = {
    "hangs": (hangs, "does not answer"),
    "pings": (pings, "does not answer"),
    "stalls": (stalls, "did not go on within"),
    "page": (replies(200, b"<html>" + CODE.encode(), "text/html"), "something else than a completion; check"),
    "page as JSON": (replies(200, b"<html>" + CODE.encode()), "something else than a completion"),
    "10 MB": (floods, "sends more than"),
    "10 MB at once": (replies(200, b" " * 10_000_000), "sends more than"),
    "nothing": (streams([]), "ended its answer before it began"),
    "breaks off": (breaks_off, "ended the connection before"),
    "list": (streams([[CODE]]), "something else than a completion"),
    "number as text": (streams([{"choices": [{"text": 7}]}]), "something else than a completion"),
    "text as log-probability": (streams([openai(" a", "-0.1")]), "something else than a completion"),  # type: ignore[arg-type]
    "huge log-probability": (streams([openai(" a", 800.0)]), "something else than a completion"),
    "no finite log-probability": (streams([b'data: {"content": "a", "completion_probabilities": [{"logprob": -1e999}]}\n\n']), "something else"),
    "chat": (streams([{"choices": [{"delta": {"content": CODE}}]}]), "something else than a completion"),
    "error": (streams([{"error": {"message": CODE}}]), "reports an error"),
    "other model": (streams([openai(" a", -0.1) | {"model": "other"}]), "answers with another model"),
    "401": (replies(401, CODE.encode()), r"refuses the API key \(401\). Run Green Code: Set API Key"),
    "403": (replies(403), r"refuses the API key \(403\)"),
    "redirect": (replies(307, Location="http://127.0.0.1:9/v1/completions"), "redirects to another address"),
    "404": (replies(404), "no completions at this address"),
    "402": (replies(402, CODE.encode()), "answers with the error 402"),
    "429": (replies(429, Retry_After="17"), r"has no time now \(429\)"),
    "503": (replies(503), r"has no time now \(503\)"),
    "500": (replies(500, CODE.encode()), "answers with the error 500"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_each_failure_is_one_sentence_without_code_or_api_key(
    server: Serving, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(client_module, "SILENT_SECONDS", 0.3 if name == "hangs" else 30.0)
    monkeypatch.setattr(session_module, "SILENT_SECONDS", 0.3 if name == "pings" else 30.0)
    monkeypatch.setattr(session_module, "BUDGET_SECONDS", 0.3 if name == "stalls" else 5.0)
    answer, expected = BAD[name]
    server.answers["/v1/completions"] = answer
    with pytest.raises(EndpointProblem, match=expected) as caught:
        asked(server)
    said = f"{caught.value}{caplog.text}"
    assert caught.value.reason == "endpoint_failed"
    assert len(str(caught.value)) < 250 and str(caught.value).startswith("127.0.0.1 ") and "\n" not in str(caught.value)
    assert "hunter2" not in said and API_KEY not in said and "password" not in said
    assert caught.value.wait_seconds == (17.0 if name == "429" else 0.0)
    assert server.completions()[0][1]["Authorization"] == f"Bearer {API_KEY}"
    server.answers["/v1/completions"] = streams([openai(" a", -0.1), openai("", finish_reason="stop")])
    assert asked(server)["text"] == " a"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_prompt_is_no_failure_of_the_server(server: Serving, status: int) -> None:
    server.answers["/v1/completions"] = replies(status, CODE.encode())
    with pytest.raises(Problem, match=rf"^127.0.0.1 refuses this prompt \({status}\); .*maxPromptTokens\.$") as caught:
        asked(server)
    assert not isinstance(caught.value, EndpointProblem) and caught.value.reason == "endpoint_failed"


def test_no_redirect_is_followed(server: Serving) -> None:
    with serving() as other:
        server.answers["/v1/models"] = replies(302, Location=f"{other.origin}/v1/models")
        with pytest.raises(EndpointProblem, match="redirects"):
            asked(server)
        assert not other.requests


@pytest.mark.parametrize("content", [b"", b"[]", b'{"data": [{"id": 7}]}', b"<html>", b"\xff"])
def test_a_list_of_models_that_is_none_is_none(server: Serving, content: bytes) -> None:
    server.answers["/v1/models"] = replies(200, content)
    with pytest.raises(EndpointProblem, match="does not list its models"):
        asked(server)


def test_a_server_that_hangs_or_is_away_is_told(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SILENT_SECONDS", 0.2)
    for bad in (hangs, pings):
        server.answers["/v1/models"] = bad
        with pytest.raises(EndpointProblem, match="does not answer"):
            asked(server)
    with pytest.raises(EndpointProblem, match="cannot be reached"):
        asked(server, "http://127.0.0.1:9/v1")


def test_without_a_valid_certificate_nothing_is_sent() -> None:
    with serving(encrypted=True) as server:
        with pytest.raises(EndpointProblem, match=r"no valid certificate \(.+\), so nothing was sent"):
            asked(server)
        assert not server.requests


def test_a_proxy_gets_nothing_of_what_goes_to_this_machine(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server.answers["/v1/completions"] = streams([openai(" a", -0.1), openai("", finish_reason="stop")])
    assert asked(server)["text"] == " a"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["choices", "text", "logprobs", "token_logprobs", "content", "logprob", "finish_reason", "model", "usage", "energy",
         "energy_joules", "stop", "stop_type", "completion_probabilities", "error", "data", "id", "tokens"]
    ), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@examples(50)
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_an_answer_holds_it_is_a_piece_or_unusable(content: bytes) -> None:
    for read in (piece_of, models_of, token_count):
        try:
            found = read(content)
        except Unusable:
            continue
        if isinstance(found, Piece):
            found.text.encode()
            assert found.log_probability is None or -1e7 < found.log_probability <= 0


@examples(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40) | json_values, max_size=4))
def test_whatever_a_stream_holds_the_request_ends(server: Serving, events: list[Any]) -> None:
    server.answers["/v1/models"] = models("code-7b")
    server.answers["/v1/completions"] = streams(events)
    try:
        assert isinstance(asked(server)["text"], str)
    except EndpointProblem as problem:
        assert "hunter2" not in str(problem)
