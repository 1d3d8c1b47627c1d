"""A front behind its protocol: an editor that talks to a real `green-code lsp`, and bytes that are served in this process."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsprotocol import types
from pytest_lsp import LanguageClient, client_capabilities

from green_code.cli.lsp import without_user_text
from green_code.link import messages
from green_code.lsp import wire
from green_code.lsp.server import make_server, plain

FAKE = Path(__file__).resolve().parents[1] / "engine" / "fake_runtime.py"
FRONT = (sys.executable, "-m", "green_code", "lsp", "--stdio")
URI = "file:///home/me/a.py"
WAIT_SECONDS = 60.0


class Editor:
    """A client that records the front's notifications."""

    def __init__(self, client: LanguageClient) -> None:
        self.client = client
        self.statuses: list[dict[str, Any]] = []
        self.energies: list[dict[str, Any]] = []
        client.feature(messages.LSP_STATUS)(lambda params: self.statuses.append(plain(params)))
        client.feature(messages.LSP_ENERGY)(lambda params: self.energies.append(plain(params)))

    async def start(self, settings: dict[str, Any]) -> types.InitializeResult:
        capabilities = client_capabilities("visual-studio-code")
        synchronization = types.NotebookDocumentSyncClientCapabilities()
        capabilities.notebook_document = types.NotebookDocumentClientCapabilities(synchronization)
        return await self.client.initialize_session(
            types.InitializeParams(
                capabilities=capabilities, root_uri="file:///home/me", initialization_options={"settings": settings}
            )
        )

    def open(self, text: str, uri: str = URI, language: str = "python") -> None:
        item = types.TextDocumentItem(uri=uri, language_id=language, version=1, text=text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(text_document=item))

    def edit(self, line: int, units: int, text: str, version: int = 2) -> None:
        position = types.Position(line, units)
        change = types.TextDocumentContentChangePartial(range=types.Range(position, position), text=text)
        identifier = types.VersionedTextDocumentIdentifier(uri=URI, version=version)
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(text_document=identifier, content_changes=[change])
        )

    async def complete(
        self, line: int, units: int, uri: str = URI, kind: types.InlineCompletionTriggerKind | None = None
    ) -> list[types.InlineCompletionItem]:
        answer = await asyncio.wait_for(self.request(line, units, uri, kind), WAIT_SECONDS)
        return list(answer.items)

    async def request(
        self, line: int, units: int, uri: str = URI, kind: types.InlineCompletionTriggerKind | None = None
    ) -> Any:
        return await self.client.text_document_inline_completion_async(
            types.InlineCompletionParams(
                context=types.InlineCompletionContext(kind or types.InlineCompletionTriggerKind.Automatic),
                text_document=types.TextDocumentIdentifier(uri),
                position=types.Position(line, units),
            )
        )

    async def call(self, method: str) -> dict[str, Any]:
        answer = await asyncio.wait_for(self.client.protocol.send_request_async(method, {}), WAIT_SECONDS)
        value = plain(answer)
        assert isinstance(value, dict)
        return value

    async def until(self, condition: Callable[[], Any]) -> None:
        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.01)

        await asyncio.wait_for(wait(), WAIT_SECONDS)


def frame(body: str) -> bytes:
    return f"Content-Length: {len(body)}\r\n\r\n{body}".encode()


INITIALIZE = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}'
EXPLAIN = '{"jsonrpc":"2.0","id":9,"method":"greenCode/explain"}'
SHUTDOWN_AND_EXIT = frame('{"jsonrpc":"2.0","id":"end","method":"shutdown"}') + frame(
    '{"jsonrpc":"2.0","method":"exit"}'
)


@dataclass(frozen=True)
class Served:
    """What came of some bytes: the exit status, what was sent, and the log as `green-code lsp` writes it."""

    status: int
    sent: bytes
    log: str

    @property
    def answers(self) -> dict[Any, Any]:
        """By the request's id."""
        stream, found = io.BytesIO(self.sent), {}
        while (body := wire.read_body(stream)) is not None:
            message = json.loads(body)
            if "method" not in message:
                found[message["id"]] = message
        return found


def serve(received: bytes) -> Served:
    """By a front in this process."""
    server, sent, log = make_server(), io.BytesIO(), io.StringIO()
    handler = logging.StreamHandler(log)
    handler.addFilter(without_user_text)
    logging.getLogger().addHandler(handler)
    try:
        server.start_io(io.BytesIO(received), sent)
    finally:
        logging.getLogger().removeHandler(handler)
    return Served(server.exit_status, sent.getvalue(), log.getvalue())


def run_front(received: bytes, *options: str) -> Served:
    """By a process of its own."""
    done = subprocess.run((*FRONT, *options), input=received, capture_output=True, timeout=WAIT_SECONDS)
    return Served(done.returncode, done.stdout, done.stderr.decode())
