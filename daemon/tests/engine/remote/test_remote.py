"""Completions from a server: prompts, stops, cancels, and what is counted."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from green_code.engine.remote import session as session_module
from green_code.engine.remote.runtime import RemoteRuntime, connect
from green_code.engine.requests import completion_params
from green_code.link.messages import CompletionResult
from green_code.problems import Problem
from tests.engine.remote.serving import Serving, infill, llama, models, openai, serving, streams, tokenizer

PREFIX = "def add(a, b):\n    return"
SURE, UNSURE = math.log(0.95), math.log(0.3)
QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


@pytest.fixture
def server() -> Iterator[Serving]:
    with serving() as found:
        yield found


@pytest.fixture
def runtime() -> Iterator[Callable[..., RemoteRuntime]]:
    made: list[RemoteRuntime] = []

    def make(address: str, tokens: dict[str, str] | None = None) -> RemoteRuntime:
        made.append(connect(address, tokens or {}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def completed(runtime: RemoteRuntime, prefix: str = PREFIX, **changes: Any) -> CompletionResult:
    params = completion_params(prefix, model=runtime.model, single_line=False, max_lines=4, max_tokens=16, **changes)
    return runtime.new_session().complete(params, lambda: None)


@pytest.mark.parametrize("event", [openai, llama])
def test_a_completion_is_the_text_up_to_its_end(server: Serving, runtime: Any, event: Any) -> None:
    server.answers["/v1/completions"] = streams(
        [event(" a", SURE), event(" +", SURE), event(" b", SURE), openai("", finish_reason="stop")]
    )
    result = completed(runtime(server.address))
    assert (result["text"], result["reason"]) == (" a + b", "end_of_text")
    assert result["confidence"] == pytest.approx(0.95**3)
    assert (result["energy_source"], result["energy_joules"], result["layers_total"]) == ("unknown", 0.0, 0)
    [(_, _, body)] = server.completions()
    assert body == {
        "model": "code-7b", "prompt": PREFIX, "max_tokens": 16, "logprobs": 1, "temperature": 0, "stream": True,
    }  # fmt: skip


@pytest.mark.parametrize(("address", "event"), [("/v1", openai), ("/v1", llama), ("/infill", infill)])
def test_the_request_ends_with_the_first_token_under_the_stop(
    server: Serving, runtime: Any, address: str, event: Any
) -> None:
    events = [event(" a", SURE), event(" + b", SURE), event(" + c", UNSURE), *[event(" + d", SURE)] * 500]
    server.answers["/v1/completions"] = server.answers["/infill"] = streams(events, pause=lambda: time.sleep(0.01))
    result = completed(runtime(f"{server.origin}{address}"), stop=0.4)
    assert (result["text"], result["reason"]) == (" a + b", "unsure")
    before = server.sent
    assert before < 30
    time.sleep(0.2)
    assert server.sent <= before + 2  # the connection is closed: the server notices at its next event


def test_by_hand_nothing_is_stopped(server: Serving, runtime: Any) -> None:
    server.answers["/v1/completions"] = streams(
        [openai(" a", UNSURE), openai(" - b", UNSURE), openai("", finish_reason="stop")]
    )
    assert completed(runtime(server.address))["text"] == " a - b"


def test_without_log_probabilities_a_completion_ends_with_its_line(server: Serving, runtime: Any) -> None:
    plain = [
        {"choices": [{"text": text, "finish_reason": None}]}
        for text in (" a", " + b", "\n", "half", " = total", " / 2\n")
    ]
    server.answers["/v1/completions"] = streams(plain)
    result = completed(runtime(server.address), "total =", stop="balanced")
    assert (result["text"], result["reason"], result["confidence"]) == (" a + b", "end_of_line", 0.0)


def test_several_tokens_may_come_at_once_and_parts_of_a_character_before_it(server: Serving, runtime: Any) -> None:
    server.answers["/v1/completions"] = streams(
        [openai("", SURE), openai(" é", SURE), openai(" + b", SURE, SURE), openai("", finish_reason="stop")]
    )
    assert completed(runtime(server.address))["confidence"] == pytest.approx(0.95**4)


def test_a_server_that_does_not_stream_is_read_at_once(server: Serving, runtime: Any) -> None:
    whole = json.dumps(openai(" a + b", SURE, finish_reason="stop")).encode()
    server.answers["/v1/completions"] = lambda handler: handler.reply(200, whole)
    assert completed(runtime(server.address))["text"] == " a + b"


def test_a_blank_before_the_cursor_is_left_to_the_model(server: Serving, runtime: Any) -> None:
    server.answers["/v1/completions"] = streams([openai(" a + b", SURE), openai("", finish_reason="stop")])
    remote = runtime(server.address)
    assert completed(remote, f"{PREFIX} ")["text"] == "a + b"
    assert server.completions()[0][2]["prompt"] == PREFIX
    server.answers["/v1/completions"] = streams([openai("ed = 1", SURE)])
    assert completed(remote, f"{PREFIX} ")["reason"] == "empty"
    assert completed(remote, PREFIX)["reason"] == "empty"  # `returned`: a whole keyword is not continued


def test_a_server_that_knows_the_tokens_is_sent_what_follows_the_cursor(server: Serving, runtime: Any) -> None:
    server.answers["/tokenize"] = tokenizer(*QWEN)
    server.answers["/v1/completions"] = streams([openai(" a", SURE)])
    result = completed(runtime(server.address), suffix="\n\nprint(add(1, 2))\n")
    assert result["prompt"] == "fim"
    assert server.completions()[0][2]["prompt"] == (
        "<|fim_prefix|>def add(a, b):\n<|fim_suffix|>\n\nprint(add(1, 2))\n<|fim_middle|>    return"
    )


def test_infill_gets_the_parts_of_the_same_prompt(server: Serving, runtime: Any) -> None:
    server.answers["/infill"] = streams(
        [infill(" a", SURE), infill(" + b", SURE), {"content": "", "stop": True, "stop_type": "eos"}]
    )
    snippets = [{"path": "ops.py", "text": "def sub(a, b):\n    return a - b"}]
    remote = runtime(f"{server.origin}/infill")
    result = completed(remote, suffix="\n\nprint(add(1, 2))\n", snippets=snippets, path="add.py")
    assert (result["text"], result["reason"]) == (" a + b", "end_of_text")
    completed(remote, snippets=snippets, path="add.py")
    completed(remote)
    usual = {"temperature": 0, "stream": True, "n_predict": 16, "n_probs": 1}
    usual |= {"input_prefix": "def add(a, b):\n", "prompt": "    return"}
    extra = [{"filename": "ops.py", "text": "def sub(a, b):\n    return a - b\n"}]
    assert [body for _, _, body in server.completions()] == [
        {**usual, "input_suffix": "\n\nprint(add(1, 2))\n", "input_extra": extra},
        {**usual, "input_suffix": "", "input_extra": extra},
        {**usual, "input_suffix": "", "input_extra": []},
    ]


def test_joules_that_the_server_reports_are_its_own(server: Serving, runtime: Any) -> None:
    last = {**openai("", finish_reason="stop"), "usage": {"energy_joules": 2.5, "prompt_tokens": 9, "total_tokens": 11}}
    server.answers["/v1/completions"] = streams([openai(" a", SURE), last])
    result = completed(runtime(server.address))
    assert (result["energy_source"], result["energy_joules"], result["saving"]) == ("server", 2.5, 0.0)
    assert result["prompt_tokens"] == 9


def test_a_cancel_ends_the_request_while_the_server_thinks(server: Serving, runtime: Any) -> None:
    asked = threading.Event()

    def hang(handler: Any) -> None:
        asked.set()
        time.sleep(3)

    server.answers["/v1/completions"] = hang
    params = completion_params(PREFIX, model=server.address)
    began = time.monotonic()
    result = runtime(server.address).new_session().complete(params, lambda: "superseded" if asked.is_set() else None)
    assert (result["text"], result["reason"]) == ("", "superseded") and time.monotonic() - began < 2


def test_what_came_in_time_is_shown_as_far_as_whole_lines_go(
    server: Serving, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "BUDGET_SECONDS", 0.3)
    events = [openai(" b = 2\n", SURE), openai("    c = 3\n", SURE), openai("    hal", SURE)]

    def slow(handler: Any) -> None:
        streams(events, end=b"")(handler)
        time.sleep(2)

    server.answers["/v1/completions"] = slow
    result = completed(runtime(server.address), "def f():\n    a = 1\n    ")
    assert (result["text"], result["reason"]) == ("b = 2\n    c = 3", "budget")


@pytest.mark.parametrize(
    ("names", "fragment", "expected"),
    [
        ([], "", "has several models: it has none"),
        (["a", "b"], "", "has several models: it has 'a', 'b'"),
        (["a", "b"], "#c", "has no model 'c'"),
    ],
)
def test_which_model_is_meant_must_be_plain(
    server: Serving, runtime: Any, names: list[str], fragment: str, expected: str
) -> None:
    server.answers["/v1/models"] = models(*names)
    with pytest.raises(Problem, match=expected):
        runtime(server.address + fragment)


def test_a_model_is_named_behind_the_address(server: Serving, runtime: Any) -> None:
    server.answers["/v1/completions"] = streams([openai(" a", SURE, finish_reason="stop") | {"model": "b"}])
    server.answers["/v1/models"] = models("a", "b")
    assert completed(runtime(f"{server.address}#b"))["text"] == " a"
    del server.answers["/v1/models"]  # a server that lists none
    assert completed(runtime(f"{server.address}#b"))["text"] == " a"
    with pytest.raises(Problem, match="does not list its models"):
        runtime(server.address)
    assert {body["model"] for _, _, body in server.completions()} == {"b"}
