"""Whatever an editor sends, in whatever order: the front answers each request once, and goes on."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from pygls.io_ import StdoutWriter

from green_code.link import messages
from green_code.link.checks import checked
from green_code.lsp import wire
from green_code.lsp.front import Front
from green_code.lsp.server import FrontServer, make_server
from tests.examples import examples
from tests.hostile.strategies import with_a_wrong_value

URI, CELL = "file:///home/me/a.py", "vscode-notebook-cell:/home/me/a.ipynb#1"
START = {"line": 0, "character": 0}
HERE = {"line": 0, "character": 5}
CELLS = [{"uri": CELL, "languageId": "python", "version": 1, "text": "x = "}]
NOTEBOOK = {"uri": "file:///home/me/a.ipynb", "version": 1, "notebookType": "jupyter-notebook"}
INITIALIZE = {
    "capabilities": {},
    "rootUri": "file:///home/me",
    "initializationOptions": {"settings": {"model": "fake"}},
}
OPEN = {"textDocument": {"uri": URI, "languageId": "python", "version": 1, "text": "x = y\n"}}

REQUESTS = {
    "initialize": INITIALIZE,
    "textDocument/inlineCompletion": {
        "textDocument": {"uri": URI},
        "position": HERE,
        "context": {
            "triggerKind": 2,
            "selectedCompletionInfo": {"range": {"start": START, "end": HERE}, "text": "x = yy"},
        },
    },
    "workspace/executeCommand": {"command": messages.COMMAND_ACCEPTED, "arguments": ["row", 2]},
    messages.LSP_EXPLAIN: {},
    messages.LSP_RESET_GATE: {},
}
NOTIFICATIONS = {
    "initialized": {},
    "textDocument/didOpen": OPEN,
    "textDocument/didChange": {
        "textDocument": {"uri": URI, "version": 2},
        "contentChanges": [{"range": {"start": START, "end": HERE}, "text": "y"}, {"text": "z = 1\nz"}],
    },
    "textDocument/didClose": {"textDocument": {"uri": URI}},
    "notebookDocument/didOpen": {
        "notebookDocument": {**NOTEBOOK, "cells": [{"kind": 2, "document": CELL}]},
        "cellTextDocuments": CELLS,
    },
    "notebookDocument/didChange": {
        "notebookDocument": {"uri": NOTEBOOK["uri"], "version": 2},
        "change": {
            "cells": {
                "structure": {
                    "array": {"start": 0, "deleteCount": 1, "cells": []},
                    "didOpen": CELLS,
                    "didClose": [{"uri": CELL}],
                },
                "textContent": [{"document": {"uri": CELL, "version": 2}, "changes": [{"text": "a = "}]}],
            }
        },
    },
    "notebookDocument/didClose": {"notebookDocument": {"uri": NOTEBOOK["uri"]}, "cellTextDocuments": [{"uri": CELL}]},
    "workspace/didChangeConfiguration": {
        "settings": {
            "greenCode": {
                "threshold": 0.9,
                "model": "fake",
                "languages": ["python"],
                "excludedFiles": ["**/*.pem", "{a,b}"],
                "[python]": {"completeInStrings": False},
            }
        }
    },
    "workspace/didChangeWorkspaceFolders": {"event": {"added": [{"uri": "file:///a", "name": "a"}], "removed": []}},
    messages.LSP_ACCEPTED: {"id": "row", "characters": 2},
    messages.LSP_DISMISSED: {},
    "$/cancelRequest": {"id": 3},
}


class CheckingSupervisor:
    """An engine that answers at once, if it is asked rightly."""

    reads_snippets = True
    window = ""

    def __init__(self, on_status: Callable[..., None], on_energy: Callable[..., None], on_warning: object) -> None:
        pass

    async def complete(self, params: messages.CompletionParams) -> dict[str, Any]:
        checked(messages.CompletionParams, params, messages.COMPLETE)
        details = {"token_texts": ["1"], "exits": [6], "drafts": [""], "passes": 1, "alternatives": ["2"]}
        energy = {"layers_total": 18, "energy_joules": 0.1, "energy_source": "estimate", "saving": 0.4}
        return {"id": "row", "text": " + 1", "reason": "end_of_line", "confidence": 0.9, **details, **energy}

    def shown(self, row_id: str, characters: int) -> None:
        checked(messages.ShownParams, {"id": row_id, "characters": characters}, messages.SHOWN)

    def accepted(self, row_id: str, characters: int) -> None:
        checked(messages.AcceptedParams, {"id": row_id, "characters": characters}, messages.ACCEPTED)

    def retained(self, row_id: str) -> None:
        pass

    async def warm_up(self, model: str, device: str) -> None:
        version = {"protocol": 1, "version": ""}
        checked(
            messages.HelloParams, {**version, "model": model, "device": device, "window": self.window}, messages.HELLO
        )

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_BUNDLES", str(tmp_path / "bundles"))
    monkeypatch.setenv("GREEN_CODE_DATA_DIR", str(tmp_path / "data"))


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Right messages in any order; about half of them have a wrong value."""
    sent = []
    for number in range(draw(st.integers(1, 8))):
        method = draw(st.sampled_from([*REQUESTS, *NOTIFICATIONS]))
        params: Any = REQUESTS.get(method, NOTIFICATIONS.get(method))
        if draw(st.booleans()):
            params = draw(with_a_wrong_value(params))
        request = {"id": number} if method in REQUESTS else {}
        sent.append({"jsonrpc": "2.0", **request, "method": method, "params": params})
    return sent


def start(output: io.BytesIO) -> FrontServer:
    server = make_server()
    server._writer = StdoutWriter(output)
    server.protocol.set_writer(server._writer)
    server._front = Front(
        server._send_status, server._send_energy, server._warn, supervisor=CheckingSupervisor, on_battery=lambda: False
    )
    return server


async def answers_to(sent: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """By the request's id, when every request has been answered."""
    output = io.BytesIO()
    server = start(output)
    for message in sent:
        try:
            server._handle(wire.parse(json.dumps(message).encode()))
        except wire.BadMessage as error:
            server._answer_error(error)
        await asyncio.sleep(0)
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        done, _ = await asyncio.wait(others, timeout=WAIT_SECONDS)
        assert done, "waited in vain"
    await server.front.close()
    output.seek(0)
    found: dict[Any, dict[str, Any]] = {}
    while (body := wire.read_body(output)) is not None:
        message = json.loads(body)
        if "method" not in message:
            assert message["id"] not in found, "answered once"
            found[message["id"]] = message
    return found


BEGIN = [
    {"jsonrpc": "2.0", "id": "initialize", "method": "initialize", "params": INITIALIZE},
    {"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": OPEN},
]
END = {"jsonrpc": "2.0", "id": "end", "method": messages.LSP_EXPLAIN, "params": {}}
INTERNAL_ERROR = -32603
WAIT_SECONDS = 60.0


@examples(40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations())
def test_each_request_is_answered_and_none_ends_in_a_traceback(
    caplog: pytest.LogCaptureFixture, sent: list[dict[str, Any]]
) -> None:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = asyncio.run(answers_to([*BEGIN, *sent, END]))
    assert found.keys() >= {"end", *(message["id"] for message in sent if "id" in message)}
    assert found["end"]["result"]["reason"]
    failed = [message for message in found.values() if message.get("error", {}).get("code") == INTERNAL_ERROR]
    ours = [record for record in caplog.records if record.name.startswith("green_code")]
    assert not failed and not [record.getMessage() for record in ours if record.exc_info]
