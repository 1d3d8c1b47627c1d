"""The front of one window: from a document and a cursor to the engine's completion, without LSP's own types.

Holds the documents with their prompt windows, the settings in force, and why the last request ended as it did.
Must not know: pygls, sockets, or torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from green_code.battery import Battery
from green_code.endpoints import parse_endpoint
from green_code.globs import compile_glob
from green_code.link.messages import (
    CompletionResult,
    EnergyMessage,
    Explanation,
    LastCompletion,
    StatusMessage,
    WindowEnergy,
)
from green_code.lsp import guards
from green_code.lsp.ahead import Ahead
from green_code.lsp.debounce import Debounce
from green_code.lsp.documents import Document, Encoding, Span, with_newlines
from green_code.lsp.explain import NOTHING_YET, Asked, Detail, explain, last_completion
from green_code.lsp.feedback import Feedback
from green_code.lsp.gate import Decision, Gate
from green_code.lsp.gate_features import Place, features
from green_code.lsp.insertion import Insertion, fit
from green_code.lsp.open_document import OpenDocument
from green_code.lsp.open_documents import OpenDocuments
from green_code.lsp.outcomes import Shown
from green_code.lsp.selected_entry import SETTLED_SECONDS, SelectedEntry
from green_code.lsp.spot import Spot
from green_code.lsp.suggestion import Cursor, Suggestion, suggestion_of
from green_code.lsp.supervisor import Supervisor
from green_code.lsp.window_status import WindowStatus
from green_code.problems import Problem, shown
from green_code.report import Report
from green_code.settings import PREFIX, default_settings, parse_settings

log = logging.getLogger(__name__)


class Front:
    """One window.

    Args:
        send_status: shows the window's state: the engine's, or `disabled` or `paused`.
        supervisor: makes the engine's supervisor from callbacks for status, energy and warnings.
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
        self._send_energy = send_energy
        self._warn, self._warned = warn, set[str]()  # of the engine's warnings
        self._supervisor = supervisor(self._engine_status, self._engine_energy, self._engine_warning)
        self._on_battery = on_battery or Battery()
        self.documents = OpenDocuments()
        self._gate = Gate(chance or random.Random(), warn, clock)
        self._feedback = Feedback(
            self._supervisor, self._gate, self.documents.lines_of, on_gone=lambda shown: self._ahead.cancel()
        )
        # The last one that was shown, and the text after the cursor there.
        self._current: tuple[Suggestion, str] | None = None
        self._ahead = Ahead(self._supervisor.complete, self._on_battery)
        self._outcome: tuple[str, Detail | str] = ("empty", Detail(NOTHING_YET, {}))
        self._asked: tuple[str, float] | None = None  # the last request: its document and when
        self._last: LastCompletion | None = None
        self._told_shown = ""
        self.settings = default_settings()
        self._status = WindowStatus(send_status, self._on_battery, lambda: self.settings)
        self._gate.configure(self.settings)
        self.encoding: Encoding = "utf-16"
        self.workspace_folders: list[str] = []

    # --- settings and documents ---------------------------------------------------------------------------
    def configure(self, values: Mapping[str, Any] | None) -> list[str]:
        """Take settings, which hold from the next request on. Returns a message for each that cannot be used."""
        self.settings, problems = parse_settings(values)
        self._supervisor.gpu_reserve = self.settings.gpu_reserve
        self._gate.configure(self.settings)
        self._ahead.cancel()
        self._current = None
        self._status.update()
        malformed = [glob for glob in self.settings.excluded_files if compile_glob(glob) is None]
        return problems + [
            f"{PREFIX}excludedFiles: {shown(glob)} is not a valid glob; it excludes nothing." for glob in malformed
        ]

    def open(self, uri: str, language: str, text: str) -> None:
        """A document was opened."""
        self.documents.open(Document(uri, language, text, self.encoding))

    def change(self, uri: str, span: Span | None, text: str) -> None:
        """A range of a document, or all of it, was replaced."""
        if (entry := self.documents.get(uri)) is None:
            log.warning("a change of a document that is not open")
            return
        entry.changes += 1
        entry.edited_seconds = now = self._clock()
        self._debounce.key(now)
        document = entry.document
        if span is None:
            document.replace(text)
            entry.forget()
            self._feedback.outcomes.close_document(uri)
        else:
            start = document.locate(span.start_line, span.start_units)
            end = document.locate(span.end_line, span.end_units)
            edit = document.apply(span, text)
            entry.follow(edit)
            self._feedback.change(uri, start, end, with_newlines(text), edit, now)

    def close_document(self, uri: str) -> None:
        """A document was closed."""
        self.documents.close(uri)
        self._feedback.outcomes.close_document(uri)

    # --- completions --------------------------------------------------------------------------------------
    async def complete(
        self, uri: str, line: int, units: int, automatic: bool, selected: SelectedEntry | None = None
    ) -> Suggestion | None:
        """A completion for a cursor, or None; `explain` then says why.

        Args:
            automatic: the editor sent the request by itself.
            selected: of the editor's own list of completions. The suggestion goes on behind its text.
        """
        self._asked = (uri, self._clock())
        if (cursor := self._cursor(uri, line, units, automatic, selected)) is None:
            return None
        if (visible := self._visible(cursor)) is not None:
            self._outcome = (visible["reason"], "")
            self._show(cursor, visible, Insertion(visible["text"], visible["replaced"]), inputs=())
            return visible
        inputs: tuple[float, ...] = ()
        try:
            found = cursor.entry.recent.find(cursor.params)
            result = found or await self._ahead.answer(cursor.params)
            if result is None:
                if (decision := self._gate_open(cursor)) is None:
                    return None
                wait = self._debounce.wait_seconds(self._clock()) if selected is None else SETTLED_SECONDS
                if automatic and await self._overtaken(cursor, wait):
                    return None
                inputs = decision.inputs
                cursor = replace(cursor, params={**cursor.params, "place": list(inputs)})
                self._gate.asked()
                result = await self._supervisor.complete(cursor.params)
        except asyncio.CancelledError:
            self._outcome = ("engine_starting" if self._status.waits_for_engine else "cancelled", "")
            raise
        except Problem as problem:
            self._outcome = (problem.reason, str(problem))
            return None
        if not self._is_open(cursor.entry):
            self._outcome = ("superseded", "")
            return None
        self._outcome = (result["reason"], "")
        if not result["text"]:
            self._gate.learn(inputs, taken=False)
            return None
        fitted = fit(result["text"], cursor.spot, is_read=self._feedback.outcomes.is_visible(result["id"]))
        if isinstance(fitted, Insertion):
            result = {**result, "text": fitted.text}
        if found is None:
            cursor.entry.recent.add(cursor.params, result)
        if not isinstance(fitted, Insertion):
            self._gate.learn(inputs, taken=False)
            log.debug("nothing is shown: %s %s", *fitted)
            self._outcome = ("empty" if fitted.code == "empty" else "breaks_code", Detail(fitted.code, {}))
            return None
        if automatic and await self._is_kept_back(cursor, result):
            return None
        suggestion, inserted = suggestion_of(result, fitted, cursor, self.encoding)
        stays = not cursor.beside_list and result["reason"] != "budget"  # which may give more the next time
        self._current = (suggestion, cursor.params["suffix"]) if stays else None
        self._show(cursor, result, *inserted, inputs=inputs)
        return suggestion

    def _cursor(
        self, uri: str, line: int, units: int, automatic: bool, selected: SelectedEntry | None
    ) -> Cursor | None:
        """The cursor's document and the request to send, or None if a guard refuses."""
        entry = self.documents.get(uri)
        if entry is None:
            self._outcome = ("filtered", Detail("not_open", {}))
            return None
        line, index = entry.document.locate(line, units)
        inserted = selected.inserted(entry.document, line, index) if selected is not None else None
        lines, index = inserted or (entry.document.lines.copy(), index)
        is_hidden = selected is not None and inserted is None
        situation = entry.situation(
            lines, line, index, self.settings, self.workspace_folders, automatic, is_hidden, self._on_battery
        )
        if (refused := guards.first_refusal(situation)) is not None:
            self._status.update()
            self._outcome = (refused.reason, Detail(refused.code, refused.values))
            return None
        params = entry.params(lines, line, index, self.settings, automatic)
        if not params["prefix"].strip():
            self._outcome = ("no_context", "")
            return None
        if self._supervisor.reads_snippets:
            context = entry.snippets.context(entry, line, self.documents, self.settings, self.workspace_folders)
            params = {**params, **context}
        spot = Spot(lines, line, index, entry.document.language, automatic)
        return Cursor(entry, line, index, automatic, params, spot, entry.changes, selected is not None)

    def _visible(self, cursor: Cursor) -> Suggestion | None:
        """The rest of what is shown. It stays while the text agrees with it, or a beginning of it, whatever else would be shown."""
        if self._current is None or not cursor.automatic or cursor.beside_list:
            return None
        shown, suffix = self._current
        rest = self._feedback.outcomes.rest(shown["id"], cursor.entry.document.uri, (cursor.line, cursor.index))
        if not rest.strip() or suffix != cursor.params["suffix"]:
            return None
        fitted = fit(rest, cursor.spot, is_read=True)
        if isinstance(fitted, Insertion) and rest.startswith(fitted.text) and not shown["replaced"]:
            rest = fitted.text
        return Suggestion(**{**shown, "text": rest, "others": []})

    async def _is_kept_back(self, cursor: Cursor, result: CompletionResult) -> bool:
        """Whether a suggestion is not shown: it was rejected here, or it was held back until the text was another."""
        if self._feedback.rejected.has(cursor.entry.document.uri, cursor.line, cursor.spot.before, result["text"]):
            self._outcome = ("dismissed", "")
            return True
        held = self._debounce.held_seconds(self._clock(), result["confidence"])
        if held <= 0 or self._feedback.outcomes.is_visible(result["id"]):
            return False
        try:
            return await self._overtaken(cursor, held)
        except asyncio.CancelledError:
            self._outcome = ("cancelled", "")
            raise

    def _gate_open(self, cursor: Cursor) -> Decision | None:
        """The gate's decision, or None if it does not ask."""
        decision = self._gate.decide(self._place(cursor), cursor.automatic)
        if decision.ask:
            return decision
        shares = {"probability": f"{100 * (decision.probability or 0.0):.0f}", "bound": f"{100 * decision.bound:.0f}"}
        self._outcome = ("gated", Detail("hardly_taken", {**shares, "stop": str(self.settings.suggestions)}))
        return None

    def _place(self, cursor: Cursor, text: str = "") -> Place:
        """What the gate sees at a cursor, or behind a suggestion's text there."""
        entry, suffix, breaks = cursor.entry, cursor.params["suffix"], text.count("\n")
        line = cursor.line + breaks
        history = self._feedback.history.at(entry.document.uri, line, cursor.params["prefix"] + text, self._clock())
        place = entry.place(cursor.spot.lines, cursor.line, cursor.index, suffix, self._debounce.interval, history)
        return replace(place, prefix=place.prefix + text, line=line, lines=place.lines + breaks)

    def _show(
        self, cursor: Cursor, result: CompletionResult, fitted: Insertion, *others: Insertion, inputs: tuple[float, ...]
    ) -> None:
        """The editor shows a suggestion."""
        entry, params = cursor.entry, cursor.params
        shown = Shown(
            row_id=result["id"],
            uri=entry.document.uri,
            line=cursor.line,
            before=cursor.spot.before,
            prefix=params["prefix"],
            text=fitted.text,
            replaced=fitted.replaced,
            others=tuple((other.text, other.replaced) for other in others),
            inputs=inputs,
            since=self._clock(),
        )
        is_current = entry.changes == cursor.changes and not cursor.beside_list
        if self._feedback.outcomes.show(shown, is_current):
            self._last = last_completion(params, result)
        if is_current and self._told_shown != shown.row_id:  # once, not for each rest while it is typed along
            self._told_shown = shown.row_id
            self._supervisor.shown(shown.row_id, len(shown.text) - shown.replaced)
        if cursor.beside_list:
            return
        if fitted.replaced:
            self._ahead.cancel()  # the text after the cursor will be another
            return
        self._ahead.shown(
            params,
            result,
            place=lambda: features(self._place(cursor, result["text"])),
            is_visible=lambda: self._feedback.outcomes.is_visible(shown.row_id),
            keep=entry.recent.add,
        )

    async def _overtaken(self, cursor: Cursor, seconds: float) -> bool:
        """Wait; whether the document or the settings changed meanwhile, which is the outcome then."""
        entry, settings = cursor.entry, self.settings
        if seconds > 0:
            await asyncio.sleep(seconds)
        if entry.changes == cursor.changes and self._is_open(entry) and self.settings is settings:
            return False
        self._outcome = ("superseded", "")
        return True

    def _is_open(self, entry: OpenDocument) -> bool:
        """Whether its document was neither closed nor opened anew since a request began."""
        return self.documents.get(entry.document.uri) is entry

    # --- what becomes of suggestions ----------------------------------------------------------------------
    def accepted(self, row_id: str, characters: int | None = None) -> None:
        """See `Feedback.accepted`."""
        self._feedback.accepted(row_id, characters, self._clock())

    def dismissed(self) -> None:
        """See `Feedback.dismissed`."""
        self._feedback.dismissed(self._clock())

    # --- the window ---------------------------------------------------------------------------------------
    def explain(self) -> Explanation:
        """Why the last request gave nothing, or what it gave."""
        asked = Asked(self._asked[0], self._clock() - self._asked[1]) if self._asked else None
        return explain(*self._outcome, asked, self._last)

    async def report(self) -> Report:
        """The energy report."""
        return await self._supervisor.report()

    async def reset_gate(self) -> bool:
        """Forget what the gate has learned about this user; returns whether there was anything.

        Raises:
            Problem: its file cannot be deleted.
        """
        try:
            return self._gate.reset()
        except OSError as error:
            raise Problem("cache_unwritable", f"What the gate has learned cannot be deleted: {error}.") from error

    async def begin(self) -> None:
        """The editor accepts notifications: show the state, and start the engine unless completions are off or paused."""
        self._status.begin()
        if self._status.off() is None:
            name = next((PurePath(folder).name for folder in self.workspace_folders), "")
            self._supervisor.window = name.replace("\0", "")[:255]
            await self._supervisor.warm_up(self.settings.served_by, self.settings.device)

    async def restart_engine(self) -> None:
        """End the engine and start another one."""
        await self._supervisor.restart(self.settings.served_by, self.settings.device)

    def set_api_key(self, endpoint: str, api_key: str) -> None:
        """The API key of a server; empty: none. It is kept in memory alone."""
        with contextlib.suppress(ValueError):  # configure() has said what is wrong with the address
            self._supervisor.set_api_key(parse_endpoint(endpoint).origin, api_key)

    async def close(self) -> None:
        """The window closes."""
        self._feedback.close()
        self._ahead.cancel()
        self._gate.close()
        await self._supervisor.close()

    # --- status and energy --------------------------------------------------------------------------------
    def _engine_energy(self, energy: EnergyMessage) -> None:
        self._send_energy(WindowEnergy(**energy, on_battery=self._on_battery()))

    def _engine_warning(self, message: str) -> None:
        """Show it once, also where a later engine finds the same."""
        if message not in self._warned:
            self._warned.add(message)
            self._warn(message)

    def _engine_status(self, status: StatusMessage) -> None:
        before, self._status.engine = self._status.engine["state"], status
        # Perhaps another engine, model or bundle, which may give other completions. "busy" comes with every completion.
        if "busy" not in (before, status["state"]):
            for entry in self.documents:
                entry.recent.clear()
            self._current = None
        self._status.update()
