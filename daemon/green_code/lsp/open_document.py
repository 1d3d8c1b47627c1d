"""An open document with what the front keeps for it, and what it says about a cursor in it.

Must not know: who asks, or what is done with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from green_code.link.messages import CompletionParams
from green_code.lsp.documents import Document, Edit, with_newlines
from green_code.lsp.gate_features import LOOKED_BACK, History, Place
from green_code.lsp.guards import Situation
from green_code.lsp.notebooks import Notebook
from green_code.lsp.prompt import PromptWindow
from green_code.lsp.snippets import Snippets, Words
from green_code.lsp.syntax import Syntax
from green_code.lsp.type_through import TypeThrough
from green_code.settings import TOKENS_PER_LINE, Settings

TOKENS_AT_MOST: Final = 256
ALTERNATIVES: Final = 2


@dataclass
class OpenDocument:
    """One open document; `changes` counts its edits, the last of which was at `edited_seconds` of the front's clock on line `edited_line`.
    `notebook`: of which it is a cell."""

    document: Document
    window: PromptWindow = field(default_factory=PromptWindow)
    syntax: Syntax = field(default_factory=Syntax)
    recent: TypeThrough = field(default_factory=TypeThrough)
    words: Words = field(default_factory=Words)
    snippets: Snippets = field(default_factory=Snippets)
    notebook: Notebook | None = None
    changes: int = 0
    edited_seconds: float = 0.0
    edited_line: int = 0

    def follow(self, edit: Edit) -> None:
        """The document was edited."""
        self.syntax.follow(edit)
        self.edited_line = edit.first
        if self.notebook is None:
            self.window.follow(edit)
        else:
            self.notebook.follow(self.document, edit)

    def forget(self) -> None:
        """The whole text was replaced."""
        self.syntax.forget()
        (self.window if self.notebook is None else self.notebook.window).forget()

    def situation(
        self,
        lines: Sequence[str],
        line: int,
        index: int,
        settings: Settings,
        workspace_folders: Sequence[str],
        automatic: bool,
        list_open: bool,
        on_battery: Callable[[], bool],
    ) -> Situation:
        """What the guards check at a cursor in the document's lines, or in lines that it would have."""
        document = self.document
        text = lines[line].rstrip("\r\n")
        return Situation(
            settings=settings.of_language(document.language),
            language=document.language,
            path=document.path,
            workspace_folders=workspace_folders,
            automatic=automatic,
            list_open=list_open,
            before=text[:index],
            after=text[index:],
            characters=document.characters,
            nul_characters=document.nul_characters,
            on_battery=on_battery,
            inside=lambda: self.syntax.kind_at(document.language, lines, line, index),
        )

    def params(
        self, lines: Sequence[str], line: int, index: int, settings: Settings, automatic: bool
    ) -> CompletionParams:
        """The request for the engine. One by hand has no stop, so it gives the full length, and asks for alternatives."""
        window, uri = self.window, self.document.uri
        if self.notebook is not None:
            window, uri = self.notebook.window, self.notebook.uri
            lines, line = self.notebook.around(self.document, lines, line)
        prompt = window.prompt(lines, line, index, settings.max_prompt_tokens)
        return CompletionParams(
            session=f"{os.getpid()}:{uri}",
            prefix=prompt.prefix,
            suffix=prompt.suffix,
            language=self.document.language,
            model=settings.served_by,
            device=settings.device,
            decoding=settings.decoding,
            policy="full" if settings.decoding == "full" else "agent",
            threshold=settings.threshold,
            max_tokens=min(TOKENS_PER_LINE * settings.max_lines, TOKENS_AT_MOST),
            single_line=settings.max_lines == 1,
            max_lines=settings.max_lines,
            max_prompt_tokens=settings.max_prompt_tokens,
            stop=settings.suggestions if automatic else 0.0,
            alternatives=0 if automatic else ALTERNATIVES,
            place=[],
            path="",
            snippets=[],
        )

    def place(
        self, lines: Sequence[str], line: int, index: int, suffix: str, pause_seconds: float, history: History
    ) -> Place:
        """What the gate sees."""
        parts, characters, first = [lines[line][:index]], index, line
        while first > 0 and characters < LOOKED_BACK:
            first -= 1
            parts.append(lines[first])
            characters += len(lines[first])
        prefix = with_newlines("".join(reversed(parts)))
        return Place(self.document.language, prefix, suffix, line, len(lines), pause_seconds, history)
