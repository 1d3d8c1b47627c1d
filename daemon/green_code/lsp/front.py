"""The front of one window: from a document and a cursor to the engine's completion, without LSP's own types.

Holds the documents with their prompt windows, the settings in force, and why the last request ended as it did.
Must not know: pygls, sockets, or torch.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from green_code.battery import Battery
from green_code.globs import compile_glob
from green_code.link.messages import (
    CompletionParams,
    CompletionResult,
    EnergyMessage,
    Explanation,
    LastCompletion,
    State,
    StatusMessage,
    WindowEnergy,
)
from green_code.lsp import guards
from green_code.lsp.debounce import Debounce
from green_code.lsp.documents import Document, Encoding, Span
from green_code.lsp.explain import NOTHING_YET, TEXTS, explain, last_completion
from green_code.lsp.prompt import PromptWindow
from green_code.lsp.retention import RetentionWatch
from green_code.lsp.supervisor import Supervisor
from green_code.lsp.syntax import Syntax
from green_code.lsp.type_through import TypeThrough
from green_code.problems import Problem
from green_code.report import Report
from green_code.settings import PREFIX, TOKENS_PER_LINE, default_settings, parse_settings

log = logging.getLogger(__name__)

TOKENS_AT_MOST: Final = 256

_WAITING: Final[tuple[State, ...]] = ("starting", "loading")


@dataclass
class _OpenDocument:
    document: Document
    window: PromptWindow = field(default_factory=PromptWindow)
    syntax: Syntax = field(default_factory=Syntax)
    recent: TypeThrough = field(default_factory=TypeThrough)
    changes: int = 0


class _Cursor(NamedTuple):
    entry: _OpenDocument
    line: int
    before: str  # the line up to the cursor
    params: CompletionParams


class Front:
    """One window.

    Args:
        send_status: shows the window's state: the engine's, or `disabled` or `paused`.
        supervisor: makes the engine's supervisor from a status callback and an energy callback.
        clock: monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        send_status: Callable[[StatusMessage], None],
        send_energy: Callable[[WindowEnergy], None],
        supervisor: Callable[..., Supervisor] = Supervisor,
        on_battery: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._debounce = Debounce()
        self._send_status = send_status
        self._send_energy = send_energy
        self._supervisor = supervisor(self._engine_status, self._engine_energy)
        self._on_battery = on_battery or Battery()
        self._open: dict[str, _OpenDocument] = {}
        self._retention = RetentionWatch(self._lines_of, self._supervisor.retained)
        self._engine = StatusMessage(state="starting", message="No engine yet", progress=None, reason=None)
        self._shown: StatusMessage | None = None
        self._begun = False
        self._outcome: tuple[str, str] = ("empty", TEXTS[NOTHING_YET].sentence)
        self._last: LastCompletion | None = None
        self.settings = default_settings()
        self.encoding: Encoding = "utf-16"
        self.workspace_folders: list[str] = []

    # --- settings and documents ---------------------------------------------------------------------------
    def configure(self, values: Mapping[str, Any] | None) -> list[str]:
        """Take settings, which hold from the next request on. Returns a message for each that cannot be used."""
        self.settings, problems = parse_settings(values)
        self._show_status()
        malformed = [glob for glob in self.settings.excluded_files if compile_glob(glob) is None]
        return problems + [
            f"{PREFIX}excludedFiles: {glob!r} is not a valid glob; it excludes nothing." for glob in malformed
        ]

    def open(self, uri: str, language: str, text: str) -> None:
        """A document was opened."""
        self._open[uri] = _OpenDocument(Document(uri, language, text, self.encoding))

    def change(self, uri: str, span: Span | None, text: str) -> None:
        """A range of a document, or all of it, was replaced."""
        if (entry := self._open.get(uri)) is None:
            log.warning("a change of a document that is not open")
            return
        entry.changes += 1
        self._debounce.key(self._clock())
        if span is None:
            entry.document.replace(text)
            entry.window.forget()
            entry.syntax.forget()
        else:
            edit = entry.document.apply(span, text)
            entry.window.follow(edit)
            entry.syntax.follow(edit)
            self._retention.follow(uri, edit)

    def close_document(self, uri: str) -> None:
        """A document was closed."""
        self._open.pop(uri, None)

    # --- completions --------------------------------------------------------------------------------------
    async def complete(
        self, uri: str, line: int, units: int, automatic: bool, list_open: bool = False
    ) -> CompletionResult | None:
        """A completion for a cursor, or None; `explain` then says why.

        Args:
            automatic: the editor sent the request by itself.
            list_open: the editor shows its own list of completions.
        """
        if (cursor := self._cursor(uri, line, units, automatic, list_open)) is None:
            return None
        entry, line, before, params = cursor
        try:
            result = entry.recent.find(params)
            if result is None:
                if automatic and await self._overtaken(entry):
                    self._outcome = ("superseded", "")
                    return None
                result = await self._supervisor.complete(params)
                if result["text"]:
                    self._last = last_completion(params, result)
                    if result["reason"] != "budget":  # after a time limit, the next request may give more
                        entry.recent.add(params, result)
        except asyncio.CancelledError:
            waiting = self._engine["state"] in _WAITING
            self._outcome = ("engine_starting", self._engine["message"]) if waiting else ("cancelled", "")
            raise
        except Problem as problem:
            self._outcome = (problem.reason, str(problem))
            return None
        self._outcome = (result["reason"], "")
        if not result["text"]:
            return None
        self._retention.show(result["id"], uri, line, before, result["text"])
        return result

    def _cursor(self, uri: str, line: int, units: int, automatic: bool, list_open: bool) -> _Cursor | None:
        """The cursor's document and the request to send, or None if a guard refuses."""
        entry = self._open.get(uri)
        if entry is None:
            self._outcome = ("filtered", "The editor has not opened this document for Green Code.")
            return None
        line, index = entry.document.locate(line, units)
        situation = self._situation(entry, line, index, automatic, list_open)
        if (refused := guards.first_refusal(situation)) is not None:
            self._show_status()
            self._outcome = (refused.reason, refused.message)
            return None
        params = self._params(entry, line, index)
        if not params["prefix"].strip():
            self._outcome = ("no_context", "")
            return None
        return _Cursor(entry, line, entry.document.lines[line][:index], params)

    async def _overtaken(self, entry: _OpenDocument) -> bool:
        """Wait for the debounce; whether the document or the settings changed meanwhile."""
        changes, settings = entry.changes, self.settings
        if (seconds := self._debounce.wait_seconds(self._clock())) > 0:
            await asyncio.sleep(seconds)
        is_open = self._open.get(entry.document.uri) is entry
        return entry.changes != changes or not is_open or self.settings is not settings

    def accepted(self, row_id: str) -> None:
        """The user accepted a completion."""
        self._supervisor.accepted(row_id)
        self._retention.accept(row_id)

    def explain(self) -> Explanation:
        """Why the last request gave nothing, or what it gave."""
        return explain(*self._outcome, self._last)

    async def report(self) -> Report:
        """The energy report."""
        return await self._supervisor.report()

    async def begin(self) -> None:
        """The editor accepts notifications: show the state, and start the engine unless completions are off or paused."""
        self._begun = True
        self._show_status()
        if self.settings.enabled and not (self.settings.pause_on_battery and self._on_battery()):
            await self._supervisor.warm_up(self.settings.model)

    async def restart_engine(self) -> None:
        """End the engine and start another one."""
        await self._supervisor.restart(self.settings.model)

    async def close(self) -> None:
        """The window closes."""
        self._retention.close()
        await self._supervisor.close()

    def _lines_of(self, uri: str) -> list[str] | None:
        return entry.document.lines if (entry := self._open.get(uri)) is not None else None

    def _situation(
        self, entry: _OpenDocument, line: int, index: int, automatic: bool, list_open: bool
    ) -> guards.Situation:
        document = entry.document
        text = document.lines[line].rstrip("\r\n")
        return guards.Situation(
            settings=self.settings.of_language(document.language),
            language=document.language,
            path=document.path,
            workspace_folders=self.workspace_folders,
            automatic=automatic,
            list_open=list_open,
            before=text[:index],
            after=text[index:],
            characters=document.characters,
            nul_characters=document.nul_characters,
            on_battery=self._on_battery,
            inside=lambda: entry.syntax.kind_at(document.language, document.lines, line, index),
        )

    def _params(self, entry: _OpenDocument, line: int, index: int) -> CompletionParams:
        now = self.settings
        prompt = entry.window.prompt(entry.document.lines, line, index, now.max_prompt_tokens)
        return CompletionParams(
            session=f"{os.getpid()}:{entry.document.uri}",
            prefix=prompt.prefix,
            suffix=prompt.suffix,
            language=entry.document.language,
            model=now.model,
            decoding=now.decoding,
            policy="full" if now.decoding == "full" else "agent",
            threshold=now.threshold,
            max_tokens=min(TOKENS_PER_LINE * now.max_lines, TOKENS_AT_MOST),
            single_line=now.max_lines == 1,
            max_lines=now.max_lines,
            max_prompt_tokens=now.max_prompt_tokens,
            stop=now.suggestions,
            prior=0.0,
        )

    # --- status and energy --------------------------------------------------------------------------------
    def _engine_energy(self, energy: EnergyMessage) -> None:
        self._send_energy(WindowEnergy(**energy, on_battery=self._on_battery()))

    def _engine_status(self, status: StatusMessage) -> None:
        before, self._engine = self._engine["state"], status
        # Perhaps another engine, model or bundle, which may give other completions. "busy" comes with every completion.
        if "busy" not in (before, status["state"]):
            for entry in self._open.values():
                entry.recent.clear()
        self._show_status()

    def _show_status(self) -> None:
        """Send the window's status if it has changed; LSP forbids it before the editor is initialized."""
        if not self._begun:
            return
        status = self._engine
        if not self.settings.enabled:
            status = _own_status("disabled", "disabled")
        elif self.settings.pause_on_battery and self._on_battery():
            status = _own_status("paused", "paused_on_battery")
        if status != self._shown:
            self._shown = status
            self._send_status(status)


def _own_status(state: State, reason: str) -> StatusMessage:
    return StatusMessage(state=state, message=TEXTS[reason].sentence, progress=None, reason=reason)
