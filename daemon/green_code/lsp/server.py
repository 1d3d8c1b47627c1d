"""The language server of `green-code lsp`: connects pygls's features to a Front.

It replaces pygls's document handlers (see document_sync.py), and its reading loop by one that no input makes deaf (see wire.py).
`exit` ends that loop instead of raising SystemExit inside it.
Must not know: guards, prompts, the engine, or torch.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Generator, Mapping
from typing import Any, BinaryIO, cast

from lsprotocol import types
from pygls.capabilities import get_capability
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.io_ import StdoutWriter
from pygls.lsp.server import LanguageServer
from pygls.protocol import lsp_method

from green_code import __version__
from green_code.link import messages
from green_code.link.checks import checked
from green_code.link.messages import StatusMessage, WindowEnergy
from green_code.lsp import wire
from green_code.lsp.document_sync import DocumentSync, folder_path
from green_code.lsp.documents import Encoding, Span
from green_code.lsp.front import Front
from green_code.lsp.selected_entry import SelectedEntry
from green_code.problems import Problem, shown

log = logging.getLogger(__name__)

REQUEST_FAILED = -32803
"""LSP's RequestFailed: a valid request that failed."""

NOT_INITIALIZED = -32002
"""LSP's ServerNotInitialized."""

WARNINGS_AT_MOST = 10
"""Of the settings that cannot be used."""


class FrontProtocol(DocumentSync):
    """pygls's protocol with the front's documents and a clean exit."""

    def front(self) -> Front:
        """See `DocumentSync`."""
        return cast(FrontServer, self._server).front

    def _handle_cancel_notification(self, msg_id: Any) -> None:
        """pygls's, for what can be a request's id."""
        if isinstance(msg_id, (int, str)):
            super()._handle_cancel_notification(msg_id)

    @lsp_method(types.EXIT)
    def lsp_exit(self, *args: Any) -> Generator[Any, Any, None]:
        """End the reading loop after this message; the status is 0 if `shutdown` came before."""
        yield from ()
        cast(FrontServer, self._server).leave(0 if self._shutdown else 1)


class FrontServer(LanguageServer):
    """The server of one window."""

    def __init__(self) -> None:
        super().__init__(
            "green-code",
            __version__,
            text_document_sync_kind=types.TextDocumentSyncKind.Incremental,
            notebook_document_sync=types.NotebookDocumentSyncOptions(
                [types.NotebookDocumentFilterWithNotebook(notebook="*")]
            ),
            protocol_cls=FrontProtocol,
        )
        self.exit_status = 1
        self.is_initialized = False
        self._leaving = False
        self._writer: StdoutWriter | None = None
        self.background: set[asyncio.Task[Any]] = set()
        self._front: Front | None = None
        self._warned: set[str] = set()

    @property
    def front(self) -> Front:
        """Created at first use, on the running loop."""
        if self._front is None:
            self._front = Front(self._send_status, self._send_energy, self._warn)
        return self._front

    def leave(self, exit_status: int) -> None:
        """End the reading loop after the current message."""
        self.exit_status = exit_status
        self._leaving = True

    def start_io(self, stdin: BinaryIO | None = None, stdout: BinaryIO | None = None) -> None:
        """Serve until `exit`, the end of the input, or a header that cannot be read."""
        self._writer = StdoutWriter(stdout or sys.stdout.buffer)
        self.protocol.set_writer(self._writer)
        try:
            asyncio.run(self._read(stdin or sys.stdin.buffer))
        except BrokenPipeError:
            log.error("the editor no longer reads")
        except KeyboardInterrupt:
            pass
        finally:
            self.thread_pool.shutdown()

    async def _read(self, stdin: BinaryIO) -> None:
        loop = asyncio.get_running_loop()
        while not self._leaving:
            try:
                if (body := await loop.run_in_executor(self.thread_pool, wire.read_body, stdin)) is None:
                    return
                self._handle(wire.parse(body))
            except wire.BadMessage as error:
                self._answer_error(error)
            except wire.BrokenStream as error:
                message = f"The input cannot be read on: {error}. The language server ends; start another one."
                self._answer_error(wire.BadMessage(wire.PARSE_ERROR, message))
                self.leave(1)

    def _handle(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        # The first message is `initialize`, and no other one is.
        if method is not None and (method == types.INITIALIZE) == self.is_initialized and method != types.EXIT:
            if "id" in message:
                code, state = (wire.INVALID_REQUEST, "already") if self.is_initialized else (NOT_INITIALIZED, "not")
                raise wire.BadMessage(code, f"The server is {state} initialized.", message["id"])
            return
        try:
            self.protocol.handle_message(self.protocol.structure_message(message))
        except JsonRpcException as error:
            text = f"The message {shown(method or 'answer')} has invalid parameters."
            if "id" in message and "method" in message:
                raise wire.BadMessage(error.code, text, message["id"]) from error
            log.error("%s", text)
        except BrokenPipeError:
            raise
        except Exception:  # the next message is read all the same
            log.exception("a message cannot be handled")

    def _answer_error(self, error: wire.BadMessage) -> None:
        log.error("%s", error)
        failure = {"code": error.code, "message": str(error)}
        body = json.dumps({"jsonrpc": "2.0", "id": error.request_id, "error": failure}).encode()
        if self._writer is not None:
            self._writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def configure(self, values: Any) -> None:
        """Take settings. A warning names each that cannot be used, once for as long as it stays wrong."""
        if values is not None and not isinstance(values, dict):
            values = None
            self._warn("Green Code's settings are not an object. The defaults are used; write an object of settings.")
        messages = self.front.configure(values)
        for message in messages[:WARNINGS_AT_MOST]:
            if message not in self._warned:
                self._warn(message)
        self._warned = set(messages)

    def start_in_background(self, work: Any) -> None:
        """Run a coroutine as a task; a failure is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self.background.add(task)
        task.add_done_callback(self._background_done)

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log instead of opening a message window."""
        log.error("%s: %s", getattr(source, "__name__", source), error)

    def _background_done(self, task: asyncio.Task[Any]) -> None:
        self.background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s", error, exc_info=error)

    def _warn(self, message: str) -> None:
        log.warning("%s", message)
        self.window_show_message(types.ShowMessageParams(types.MessageType.Warning, message))

    def _send_status(self, status: StatusMessage) -> None:
        self.protocol.notify(messages.LSP_STATUS, dict(status))

    def _send_energy(self, energy: WindowEnergy) -> None:
        self.protocol.notify(messages.LSP_ENERGY, dict(energy))


def make_server() -> FrontServer:
    """A server with its features registered."""
    server = FrontServer()

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        folders = [folder.uri for folder in params.workspace_folders or []]
        if not folders and params.root_uri:
            folders = [params.root_uri]
        server.front.workspace_folders = [folder_path(uri) for uri in folders]
        encoding = server.workspace.position_encoding
        server.front.encoding = cast(Encoding, getattr(encoding, "value", encoding) or "utf-16")
        options = plain(params.initialization_options)
        server.configure(options.get("settings") if isinstance(options, dict) else None)
        if not _registers_server_commands(params.capabilities):
            server.command(messages.COMMAND_ACCEPTED)(accepted_by_command)
        server.is_initialized = True

    def take_acceptance(values: Any) -> None:
        found = checked(messages.AcceptedParams, values if isinstance(values, dict) else {}, messages.LSP_ACCEPTED)
        server.front.accepted(found["id"], found.get("characters"))

    # `Any`: pygls would pass the server to a first parameter of a type that it has.
    def accepted_by_command(*arguments: Any) -> None:
        try:
            take_acceptance(dict(zip(("id", "characters"), arguments, strict=False)))
        except Problem as problem:
            raise JsonRpcInvalidParams(str(problem)) from problem

    @server.feature(types.INITIALIZED)
    def initialized(params: types.InitializedParams) -> None:
        server.start_in_background(server.front.begin())

    @server.feature(types.SHUTDOWN)
    async def shutdown(params: Any) -> None:
        await server.front.close()

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    def did_change_configuration(params: types.DidChangeConfigurationParams) -> None:
        settings = plain(params.settings)
        if isinstance(settings, dict) and "greenCode" in settings:
            server.configure(settings["greenCode"])

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def inline_completion(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        automatic = params.context.trigger_kind == types.InlineCompletionTriggerKind.Automatic
        start = end = params.position
        selected, text = None, ""
        if (info := params.context.selected_completion_info) is not None:
            start, end, text = info.range.start, info.range.end, info.text
            selected = SelectedEntry(text, Span(start.line, start.character, end.line, end.character))
        position = params.position
        result = await server.front.complete(
            params.text_document.uri, position.line, position.character, automatic, selected
        )
        if result is None:
            return types.InlineCompletionList(items=[])
        row_id = result["id"]

        def item(rest: str, replaced: int) -> types.InlineCompletionItem:
            accept = types.Command(title="", command=messages.COMMAND_ACCEPTED, arguments=[row_id, len(rest)])
            place = types.Range(start, types.Position(end.line, end.character + replaced))
            return types.InlineCompletionItem(insert_text=text + rest, range=place, command=accept)

        shown = [(result["text"], result["replaced"]), *result["others"]]
        return types.InlineCompletionList(items=[item(rest, replaced) for rest, replaced in shown])

    @server.feature(messages.LSP_ACCEPTED)
    def accepted(params: Any) -> None:
        try:
            take_acceptance(plain(params))
        except Problem as problem:
            log.warning("%s", problem)

    @server.feature(messages.LSP_DISMISSED)
    def dismissed(params: Any) -> None:
        server.front.dismissed()

    @server.feature(messages.LSP_API_KEY)
    def api_key(params: Any) -> None:
        values = plain(params)
        try:
            found = checked(messages.ApiKeyParams, values if isinstance(values, dict) else {}, messages.LSP_API_KEY)
            server.front.set_api_key(found["endpoint"], found["api_key"])
        except Problem as problem:
            server._warn(f"The API key cannot be used: {problem}")

    @server.feature(messages.LSP_EXPLAIN)
    def explain(params: Any) -> Any:
        return server.front.explain()

    @server.feature(messages.LSP_REPORT)
    async def report(params: Any) -> Any:
        return await _or_request_failed(server.front.report())

    @server.feature(messages.LSP_RESTART_ENGINE)
    async def restart_engine(params: Any) -> Any:
        await _or_request_failed(server.front.restart_engine())
        return {}

    @server.feature(messages.LSP_RESET_GATE)
    async def reset_gate(params: Any) -> Any:
        return {"reset": await _or_request_failed(server.front.reset_gate())}

    return server


async def _or_request_failed(work: Any) -> Any:
    """Turns a Problem into an LSP error with its message and reason."""
    try:
        return await work
    except Problem as problem:
        raise JsonRpcException(str(problem), REQUEST_FAILED, {"reason": problem.reason}) from problem


def serve() -> int:
    """Serve standard input and output until `exit` or the end of input; returns the exit status."""
    server = make_server()
    server.start_io()
    return server.exit_status


def plain(value: Any) -> Any:
    """JSON values as dictionaries and lists; pygls makes named tuples of objects without a schema."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: plain(item) for key, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _registers_server_commands(client: types.ClientCapabilities) -> bool:
    """Whether the editor registers a server's commands as its own, as VS Code's client library does.

    There the extension has already registered `greenCode.accepted`, and a second command of that name would make the
    start fail. Such an editor declares dynamic registration of commands; others only send them back.
    """
    return bool(get_capability(client, "workspace.execute_command.dynamic_registration", False))
