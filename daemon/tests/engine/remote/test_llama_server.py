"""A round trip to the real llama-server."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from green_code.endpoints import parse_endpoint
from green_code.engine.interfaces import EndpointProblem
from green_code.engine.remote.runtime import connect
from green_code.engine.requests import completion_params
from green_code.models import store
from green_code.models.rows import ROWS, STANDARD

pytestmark = [pytest.mark.slow, pytest.mark.real_model]
KEY = "sk-1"
PREFIX = '"""Three shapes."""\n\n\ndef square_area(side):\n    return side * side\n\n\ndef rectangle_area(width, height):\n    return'


SUFFIX = "\n\n\ndef circle_area(radius):\n    return 3.14 * radius * radius\n"


@contextlib.contextmanager
def llama_server(*model: str) -> Iterator[str]:
    script = Path(__file__).with_name("llama_server.py")
    command = [sys.executable, str(script), KEY, *model]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.stdin.close()
        process.wait(30)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with llama_server() as found:
        yield found


def told(address: str, path: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(
        parse_endpoint(address).root + path,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request))


def completed(address: str, key: str = KEY, **changes: Any) -> Any:
    runtime = connect(address, {parse_endpoint(address).origin: key})
    try:
        params = completion_params(PREFIX, model=address, single_line=False, max_lines=8, max_tokens=64, **changes)
        return runtime.new_session().complete(params, lambda: None)
    finally:
        runtime.close()


def test_its_text_and_probabilities_are_ours(address: str) -> None:
    """The server's own answer, not streamed, is what we must show the beginning of."""
    whole = told(address, "/v1/completions", {"prompt": PREFIX, "max_tokens": 64, "temperature": 0, "logprobs": 1})
    result = completed(address)
    assert result["text"].strip() and whole["choices"][0]["text"].startswith(result["text"])
    assert 0 < result["confidence"] <= 1 and result["energy_source"] == "unknown"


def test_a_stop_ends_the_request_in_the_server(address: str) -> None:
    began = time.monotonic()
    result = completed(address, stop=0.9)
    assert result["reason"] in ("unsure", "unlikely", "end_of_line")
    until = began + 30
    while any(slot["is_processing"] for slot in told(address, "/slots")):
        assert time.monotonic() < until
        time.sleep(0.05)
    [slot] = told(address, "/slots")
    decoded = slot.get("next_token", [{}])
    decoded = (decoded[0] if isinstance(decoded, list) else decoded).get("n_decoded", 0)
    assert decoded < 64


def test_without_its_key_it_answers_nothing(address: str) -> None:
    with pytest.raises(EndpointProblem, match=r"wants an API key \(401\)"):
        completed(address, key="")
    with pytest.raises(EndpointProblem, match=r"refuses the API key \(401\)"):
        completed(address, key="sk-2")


def test_a_model_without_the_tokens_for_infilling_is_told(address: str) -> None:
    with pytest.raises(EndpointProblem, match="answers with the error 501"):
        completed(address.replace("/v1", "/infill"))


def test_what_it_fills_in_is_what_we_show() -> None:
    """Its own infilling, with a model that knows the tokens for it. Its answer, not streamed, is of the parts as the editor has them."""
    store.get(ROWS[STANDARD], lambda *_: None)
    before, _, line = PREFIX.rpartition("\n")
    parts = {"input_prefix": f"{before}\n", "prompt": line, "input_suffix": SUFFIX, "n_predict": 64, "temperature": 0}
    with llama_server(STANDARD) as address:
        whole = told(address, "/infill", parts)
        result = completed(address.replace("/v1", "/infill"), suffix=SUFFIX)
    assert result["text"].strip() and whole["content"].startswith(result["text"])
    assert result["prompt"] == "fim" and 0 < result["confidence"] <= 1
