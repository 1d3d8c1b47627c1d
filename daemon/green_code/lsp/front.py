"""The front of one window: from a document and a cursor to the engine's completion, without LSP's own types.

Holds the documents with their prompt windows, the settings in force, and why the last request ended as it did.
Must not know: pygls, sockets, or torch.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

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
from green_code.lsp.ahead import Ahead
from green_code.lsp.debounce import Debounce
from green_code.lsp.documents import Document, Encoding, Span, with_newlines
from green_code.lsp.explain import NOTHING_YET, TEXTS, Asked, Detail, explain, last_completion
from green_code.lsp.gate import Decision, Gate
from green_code.lsp.gate_features import OutcomeHistory, Place, features
from green_code.lsp.open_document import OpenDocument
from green_code.lsp.outcomes import Outcomes, Shown
from green_code.lsp.retention import RetentionWatch
from green_code.lsp.supervisor import Supervisor
from green_code.problems import Problem
from green_code.report import Report
from green_code.settings import PREFIX, default_settings, parse_settings

log = logging.getLogger(__name__)

_WAITING: Final[tuple[State, ...]] = ("starting", "loading")


@dataclass(frozen=True)
class _Cursor:
    entry: OpenDocument
    line: int
    index: int
    automatic: bool
    params: CompletionParams
    before: str  # the line up to the cursor
    changes: int


class Front:
    """One window.

    Args:
        send_status: shows the window's state: the engine's, or `disabled` or `paused`.
        supervisor: makes the engine's supervisor from a status callback and an energy callback.
        warn: shows a sentence to the user.
        clock: monotonic seconds; replaced in tests.
        chance: which refusals of the gate are asked all the same; replaced in tests.
    """

    def __init__(
        self,
        send_status: Callable[[StatusMessage], None],
        send_energy: Callable[[WindowEnergy], None],
        warn: Callable[[str], None] = log.warning,
        supervisor: Callable[..., Supervisor] = Supervisor,
        on_battery: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._debounce = Debounce()
        self._send_status = send_status
        self._send_energy = send_energy
        self._supervisor = supervisor(self._engine_status, self._engine_energy)
        self._on_battery = on_battery or Battery()
        self._open: dict[str, OpenDocument] = {}
        self._retention = RetentionWatch(self._lines_of, self._supervisor.retained)
        self._gate = Gate(chance or random.Random(), warn, clock)
        self._outcomes = Outcomes(self._characters_accepted, self._outcome_known, lambda shown: self._ahead.cancel())
        self._history = OutcomeHistory()
        self._ahead = Ahead(self._supervisor.complete, self._on_battery)
        self._engine = StatusMessage(state="starting", message="No engine yet", progress=None, reason=None)
        self._shown: StatusMessage | None = None
        self._begun = False
        self._outcome: tuple[str, Detail | str] = ("empty", Detail(NOTHING_YET, {}))
        self._asked: tuple[str, float] | None = None  # the last request: its document and when
        self._last: LastCompletion | None = None
        self._told_shown = ""
        self.settings = default_settings()
        self._gate.configure(self.settings)
        self.encoding: Encoding = "utf-16"
        self.workspace_folders: list[str] = []

    # --- settings and documents ---------------------------------------------------------------------------
    def configure(self, values: Mapping[str, Any] | None) -> list[str]:
        """Take settings, which hold from the next request on. Returns a message for each that cannot be used."""
        self.settings, problems = parse_settings(values)
        self._gate.configure(self.settings)
        self._ahead.cancel()
        self._show_status()
        malformed = [glob for glob in self.settings.excluded_files if compile_glob(glob) is None]
        return problems + [
            f"{PREFIX}excludedFiles: {glob!r} is not a valid glob; it excludes nothing." for glob in malformed
        ]

    def open(self, uri: str, language: str, text: str) -> None:
        """A document was opened."""
        self._open[uri] = OpenDocument(Document(uri, language, text, self.encoding))

    def change(self, uri: str, span: Span | None, text: str) -> None:
        """A range of a document, or all of it, was replaced."""
        if (entry := self._open.get(uri)) is None:
            log.warning("a change of a document that is not open")
            return
        entry.changes += 1
        self._debounce.key(now := self._clock())
        document = entry.document
        if span is None:
            document.replace(text)
            entry.window.forget()
            entry.syntax.forget()
            self._outcomes.close_document(uri)
        else:
            start = document.locate(span.start_line, span.start_units)
            end = document.locate(span.end_line, span.end_units)
            edit = document.apply(span, text)
            entry.window.follow(edit)
            entry.syntax.follow(edit)
            self._retention.follow(uri, edit)
            self._outcomes.change(uri, start, end, with_newlines(text), edit, now)

    def close_document(self, uri: str) -> None:
        """A document was closed."""
        self._open.pop(uri, None)
        self._outcomes.close_document(uri)

    # --- completions --------------------------------------------------------------------------------------
    async def complete(
        self, uri: str, line: int, units: int, automatic: bool, list_open: bool = False
    ) -> CompletionResult | None:
        """A completion for a cursor, or None; `explain` then says why.

        Args:
            automatic: the editor sent the request by itself.
            list_open: the editor shows its own list of completions.
        """
        self._asked = (uri, self._clock())
        if (cursor := self._cursor(uri, line, units, automatic, list_open)) is None:
            return None
        inputs: tuple[float, ...] = ()
        try:
            result = cursor.entry.recent.find(cursor.params) or await self._ahead.answer(cursor.params)
            if result is None:
                if (decision := self._gate_open(cursor)) is None:
                    return None
                if automatic and await self._overtaken(cursor):
                    self._outcome = ("superseded", "")
                    return None
                inputs = decision.inputs
                cursor = replace(cursor, params={**cursor.params, "place": list(inputs)})
                self._gate.asked()
                result = await self._supervisor.complete(cursor.params)
                if result["text"]:
                    cursor.entry.recent.add(cursor.params, result)
        except asyncio.CancelledError:
            waiting = self._engine["state"] in _WAITING
            self._outcome = ("engine_starting" if waiting else "cancelled", "")
            raise
        except Problem as problem:
            self._outcome = (problem.reason, str(problem))
            return None
        self._outcome = (result["reason"], "")
        if not result["text"]:
            self._gate.learn(inputs, taken=False)
            return None
        self._show(cursor, result, inputs)
        return result

    def _cursor(self, uri: str, line: int, units: int, automatic: bool, list_open: bool) -> _Cursor | None:
        """The cursor's document and the request to send, or None if a guard refuses."""
        entry = self._open.get(uri)
        if entry is None:
            self._outcome = ("filtered", Detail("not_open", {}))
            return None
        line, index = entry.document.locate(line, units)
        situation = entry.situation(
            line, index, self.settings, self.workspace_folders, automatic, list_open, self._on_battery
        )
        if (refused := guards.first_refusal(situation)) is not None:
            self._show_status()
            self._outcome = (refused.reason, Detail(refused.code, refused.values))
            return None
        params = entry.params(line, index, self.settings, automatic)
        if not params["prefix"].strip():
            self._outcome = ("no_context", "")
            return None
        return _Cursor(entry, line, index, automatic, params, entry.document.lines[line][:index], entry.changes)

    def _gate_open(self, cursor: _Cursor) -> Decision | None:
        """The gate's decision, or None if it does not ask."""
        decision = self._gate.decide(self._place(cursor), cursor.automatic)
        if decision.ask:
            return decision
        shares = {"probability": f"{100 * (decision.probability or 0.0):.0f}", "bound": f"{100 * decision.bound:.0f}"}
        self._outcome = ("gated", Detail("hardly_taken", {**shares, "stop": str(self.settings.suggestions)}))
        return None

    def _place(self, cursor: _Cursor, text: str = "") -> Place:
        """What the gate sees at a cursor, or behind a suggestion's text there."""
        entry, suffix, breaks = cursor.entry, cursor.params["suffix"], text.count("\n")
        line = cursor.line + breaks
        history = self._history.at(entry.document.uri, line, cursor.params["prefix"] + text, self._clock())
        place = entry.place(cursor.line, cursor.index, suffix, self._debounce.interval, history)
        return replace(place, prefix=place.prefix + text, line=line, lines=place.lines + breaks)

    def _show(self, cursor: _Cursor, result: CompletionResult, inputs: tuple[float, ...]) -> None:
        """The editor shows a suggestion."""
        entry, params = cursor.entry, cursor.params
        shown = Shown(
            row_id=result["id"],
            uri=entry.document.uri,
            line=cursor.line,
            before=cursor.before,
            prefix=params["prefix"],
            text=result["text"],
            inputs=inputs,
            since=self._clock(),
        )
        is_current = entry.changes == cursor.changes
        if self._outcomes.show(shown, is_current):
            self._last = last_completion(params, result)
        if is_current and self._told_shown != shown.row_id:  # once, not for each rest while it is typed along
            self._told_shown = shown.row_id
            self._supervisor.shown(shown.row_id, len(shown.text))
        self._ahead.shown(
            params,
            result,
            place=lambda: features(self._place(cursor, result["text"])),
            is_visible=lambda: self._outcomes.is_visible(shown.row_id),
            keep=entry.recent.add,
        )

    async def _overtaken(self, cursor: _Cursor) -> bool:
        """Wait for the debounce; whether the document or the settings changed meanwhile."""
        entry, settings = cursor.entry, self.settings
        if (seconds := self._debounce.wait_seconds(self._clock())) > 0:
            await asyncio.sleep(seconds)
        is_open = self._open.get(entry.document.uri) is entry
        return entry.changes != cursor.changes or not is_open or self.settings is not settings

    # --- what becomes of suggestions ----------------------------------------------------------------------
    def accepted(self, row_id: str, characters: int | None = None) -> None:
        """The user accepted a suggestion: so many characters of it, or all that is left."""
        self._outcomes.accept(row_id, characters, self._clock())

    def _characters_accepted(self, shown: Shown, characters: int) -> None:
        self._supervisor.accepted(shown.row_id, characters)
        self._retention.accept(shown.row_id, shown.uri, shown.line, shown.before + shown.text[: shown.counted])

    def _outcome_known(self, shown: Shown, taken: bool, now: float) -> None:
        self._gate.learn(shown.inputs, taken)
        self._history.record(shown.uri, shown.line, shown.prefix, taken, now)

    async def reset_gate(self) -> bool:
        """Forget what the gate has learned about this user; returns whether there was anything.

        Raises:
            Problem: its file cannot be deleted.
        """
        try:
            return self._gate.reset()
        except OSError as error:
            raise Problem("cache_unwritable", f"What the gate has learned cannot be deleted: {error}.") from error

    # --- the window ---------------------------------------------------------------------------------------
    def explain(self) -> Explanation:
        """Why the last request gave nothing, or what it gave."""
        asked = Asked(self._asked[0], self._clock() - self._asked[1]) if self._asked else None
        return explain(*self._outcome, asked, self._last)

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
        self._ahead.cancel()
        self._gate.close()
        await self._supervisor.close()

    def _lines_of(self, uri: str) -> list[str] | None:
        return entry.document.lines if (entry := self._open.get(uri)) is not None else None

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
