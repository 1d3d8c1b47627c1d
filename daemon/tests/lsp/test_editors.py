"""The front with other editors: their capabilities, their units of columns, and their configuration.

The values are those that Neovim 0.11, Emacs 30 with lsp-mode 10 and Helix 25.01 sent. pytest-lsp has all of Neovim's
capabilities; of the others' this file has those that could matter to the server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from lsprotocol import types
from lsprotocol.converters import get_converter
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pytest_lsp import LanguageClient, client_capabilities, make_test_lsp_client

from green_code.cli.engine import stop_engine
from green_code.link import messages
from green_code.lsp.server import plain
from tests.lsp.stdio import FRONT, INITIALIZE, URI, WAIT_SECONDS, Editor, frame, serve

UNITS_OF_THE_EMOJI = {"utf-8": 4, "utf-16": 2, "utf-32": 1}
SETTINGS = {"settings": {"model": "fake", "threshold": 0.7}}


@dataclass(frozen=True)
class Manner:
    """How an editor begins: its capabilities, its initializationOptions, and what it configures right after."""

    capabilities: dict[str, Any] | types.ClientCapabilities
    encoding: str
    options: Any = None
    configured: tuple[Any, ...] = ()


def manner_of_neovim(*encodings: str) -> Manner:
    """0.12's: 0.11's and inline completion. It declares no commands, but sends them."""
    capabilities = client_capabilities("neovim@0.11.0")
    assert capabilities.general is not None and capabilities.text_document is not None
    capabilities.text_document.inline_completion = types.InlineCompletionClientCapabilities(False)
    capabilities.general.position_encodings = list(encodings)
    return Manner(capabilities, encodings[0], SETTINGS)


NOT_LATER = {"dynamicRegistration": False}
MANNERS = {
    "neovim": manner_of_neovim("utf-8", "utf-16", "utf-32"),
    "neovim beside a server that knows UTF-16 alone": manner_of_neovim("utf-16"),
    "emacs, lsp-mode": Manner(
        {
            "general": {"positionEncodings": ["utf-32", "utf-8", "utf-16"]},
            "workspace": {
                "applyEdit": True,
                "configuration": True,
                "executeCommand": NOT_LATER,
                "workspaceFolders": True,
            },
            "textDocument": {
                "synchronization": {"willSave": True, "didSave": True, "willSaveWaitUntil": True},
                "inlineCompletion": None,
            },
        },
        "utf-32",
        SETTINGS,
    ),
    # Helix sends no inline completion requests yet. It sends its `config` table twice.
    "helix": Manner(
        {
            "general": {"positionEncodings": ["utf-8", "utf-32", "utf-16"]},
            "workspace": {
                "applyEdit": True,
                "configuration": True,
                "didChangeConfiguration": NOT_LATER,
                "executeCommand": NOT_LATER,
                "workspaceFolders": True,
            },
            "textDocument": {"completion": {}},
        },
        "utf-8",
        SETTINGS,
        (SETTINGS,),
    ),
    "an editor without capabilities": Manner({}, "utf-16"),
}


class Other(Editor):
    """An editor that records the methods it receives, and counts columns as negotiated."""

    def __init__(self, client: LanguageClient) -> None:
        super().__init__(client)
        self.received: list[str] = []
        """Methods of the front's requests and notifications."""
        handle = client.protocol.handle_message

        def record(message: Any) -> None:
            if method := getattr(message, "method", None):
                self.received.append(method)
            handle(message)

        client.protocol.handle_message = record  # type: ignore[method-assign]

    async def begin(self, manner: Manner) -> types.ServerCapabilities:
        """initialize, initialized, and the configuration."""
        capabilities = manner.capabilities
        if isinstance(capabilities, dict):
            capabilities = get_converter().structure(capabilities, types.ClientCapabilities)
        self.client.capabilities = capabilities
        answer = await self.client.initialize_async(
            types.InitializeParams(
                capabilities=capabilities,
                process_id=os.getpid(),
                root_uri="file:///home/me",
                workspace_folders=[types.WorkspaceFolder("file:///home/me", "me")],
                initialization_options=manner.options,
            )
        )
        await self.call(messages.LSP_EXPLAIN)
        assert self.received == [], "nothing may be sent before `initialized`"
        self.client.initialized(types.InitializedParams())
        for settings in manner.configured:
            self.configure(settings)
        return answer.capabilities

    def configure(self, settings: Any) -> None:
        self.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings))

    def replace(self, units: int, old: str, new: str) -> None:
        """On the first line, as a deletion and an insertion in one message."""
        start, end = types.Position(0, units), types.Position(0, units + len(old))
        deletion = types.TextDocumentContentChangePartial(types.Range(start, end), text="")
        insertion = types.TextDocumentContentChangePartial(types.Range(start, start), text=new)
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(types.VersionedTextDocumentIdentifier(2, URI), [deletion, insertion])
        )

    async def execute(self, command: str, *arguments: Any) -> Any:
        params = types.ExecuteCommandParams(command, list(arguments))
        return await asyncio.wait_for(self.client.workspace_execute_command_async(params), WAIT_SECONDS)


@pytest_asyncio.fixture
async def other(fake_engine: None) -> AsyncIterator[Other]:
    """An editor whose front finds an engine around the fake model; it shuts down as LSP requires."""
    client = make_test_lsp_client()
    await client.start_io(*FRONT, env=dict(os.environ))
    yield Other(client)
    await client.shutdown_session()
    assert client._server.returncode == 0
    await client.stop()
    await stop_engine()


@pytest.mark.asyncio
@pytest.mark.parametrize("manner", MANNERS.values(), ids=MANNERS)
async def test_a_completion_and_its_acceptance(other: Other, manner: Manner) -> None:
    """The fake model has nothing to add to "nothing", and " + 1" to anything else."""
    agreed = await other.begin(manner)
    assert agreed.position_encoding == manner.encoding
    assert agreed.inline_completion_provider is not None
    units = len("f('") + UNITS_OF_THE_EMOJI[manner.encoding] + len("', ")
    other.open("f('😀', no-hing)\n")
    other.replace(units + 2, "-", "t")
    assert await other.complete(0, units + len("nothing")) == []
    assert (await other.call(messages.LSP_EXPLAIN))["reason"] == "empty", "the edit or the cursor went astray"
    other.replace(units, "nothing", "y")
    [item] = await other.complete(0, units + 1)
    here = types.Position(0, units + 1)
    assert item.insert_text == " + 1" and item.range == types.Range(here, here)

    assert item.command is not None and item.command.arguments is not None
    assert agreed.execute_command_provider is not None
    assert item.command.command in agreed.execute_command_provider.commands, "Neovim sends no other command"
    await other.execute(item.command.command, *item.command.arguments)
    await other.until(lambda: other.energies and other.energies[-1]["session"]["accepted"] == 1)

    other.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(URI)))
    assert await other.complete(0, units + 1) == []
    asked_for = {messages.LSP_STATUS, messages.LSP_ENERGY}
    assert set(other.received) == asked_for, "an editor need not answer or show anything else"


@pytest.mark.asyncio
async def test_configuration_that_is_not_ours_changes_nothing(other: Other) -> None:
    await other.begin(MANNERS["emacs, lsp-mode"])
    other.open("".join(f"a{line} = \n" for line in range(6)))
    for line, settings in enumerate(({}, None, [], SETTINGS, {"python": {}})):
        other.configure(settings)
        assert await other.complete(line, 5)
        last = (await other.call(messages.LSP_EXPLAIN))["last"]
        assert last["text"] == " + 1" and last["threshold"] == 0.7, settings
    other.configure({"greenCode": {"model": "fake", "threshold": 0.8}})
    assert await other.complete(5, 5)
    assert (await other.call(messages.LSP_EXPLAIN))["last"]["threshold"] == 0.8


@pytest.mark.asyncio
async def test_a_command_that_cannot_be_run_is_answered_and_the_front_goes_on(other: Other) -> None:
    await other.begin(MANNERS["neovim"])
    with pytest.raises(JsonRpcInvalidParams):
        await other.execute("greenCode.makeCoffee")
    with pytest.raises(JsonRpcInvalidParams):
        await other.execute(messages.COMMAND_ACCEPTED)
    with pytest.raises(JsonRpcException):
        await other.execute(messages.COMMAND_ACCEPTED, "an id", "many")
    await other.execute(messages.COMMAND_ACCEPTED, "an id that no completion has", 5)
    other.open("x = \n")
    assert await other.complete(0, 4)
    explanation = await other.client.protocol.send_request_async(messages.LSP_EXPLAIN, [])
    assert plain(explanation)["last"]["text"] == " + 1", "Lua's empty table becomes an empty array"


@pytest.mark.asyncio
async def test_vs_code_is_offered_no_command_since_its_extension_has_it(other: Other) -> None:
    """Its client library would register the command a second time, which fails the start."""
    agreed = await other.begin(Manner(client_capabilities("visual-studio-code"), "utf-16", SETTINGS))
    assert agreed.execute_command_provider is not None
    assert not agreed.execute_command_provider.commands


@pytest.mark.usefixtures("folders")
def test_answers_without_a_value_have_a_result_since_helix_reads_no_others() -> None:
    accepted = (
        '{"jsonrpc":"2.0","id":2,"method":"workspace/executeCommand","params":'
        f'{{"command":"{messages.COMMAND_ACCEPTED}","arguments":["1",2]}}}}'
    )
    shutdown = '{"jsonrpc":"2.0","id":3,"method":"shutdown","params":null}'
    exit_ = '{"jsonrpc":"2.0","method":"exit","params":null}'
    done = serve(b"".join(map(frame, (INITIALIZE, accepted, shutdown, exit_))))
    assert done.status == 0
    assert done.sent.count(b'"result": null') == 2
