"""The front from outside: a real `green-code lsp` over stdio, with a real engine process.

Most tests use an engine around a fake model; the last ones the real one with the model `tiny-random`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, get_args

import pytest
from lsprotocol import types

from green_code.link import messages
from green_code.link.discovery import ensure_engine, place
from tests.lsp.stdio import FAKE, URI, WAIT_SECONDS, Editor

FIRST_START_SECONDS = 280.0
"""Conversion of the default model, and the measuring of its costs."""


@pytest.mark.asyncio
@pytest.mark.usefixtures("fake_engine")
async def test_accepted_by_the_word_counts_though_the_editor_reports_nothing(editor: Editor) -> None:
    await editor.start({"model": "fake"})
    editor.open("x = y\n")
    [item] = await editor.complete(0, 5)
    assert item.insert_text == " + 1"
    editor.edit(0, 5, " +")
    await editor.until(lambda: editor.energies and editor.energies[-1]["session"]["accepted"] == 1)
    assert editor.energies[-1]["session"]["accepted_characters"] == 2


@pytest.mark.asyncio
@pytest.mark.usefixtures("fake_engine")
async def test_a_completion_its_acceptance_and_its_explanation(editor: Editor) -> None:
    started = await editor.start({"model": "fake"})
    assert started.capabilities.inline_completion_provider is not None
    assert started.capabilities.position_encoding == "utf-16"
    editor.open("s = '😀'\nx = y\n")
    [item] = await editor.complete(1, 5)
    assert item.insert_text == " + 1"
    here = types.Position(1, 5)
    assert item.range == types.Range(here, here)
    assert item.command is not None and item.command.command == messages.COMMAND_ACCEPTED
    assert item.command.arguments is not None
    row_id, characters = item.command.arguments
    assert characters == len(" + 1")
    editor.client.protocol.notify(messages.LSP_ACCEPTED, {"id": row_id, "characters": characters})
    await editor.until(lambda: editor.energies and editor.energies[-1]["session"]["accepted"] == 1)
    energy = editor.energies[-1]
    assert energy["today"]["completions"] == 1 and energy["last_exits"] == [6, 12]
    assert energy["threshold"] == 0.99 and energy["model"] == "fake" and energy["today"]["source"] == "estimate"
    report = await editor.call(messages.LSP_REPORT)
    assert report["today"]["shown"] == report["today"]["accepted"] == 1
    assert report["by_language"][0]["language"] == "python"
    explanation = await editor.call(messages.LSP_EXPLAIN)
    assert explanation["reason"] == "end_of_line" and explanation["last"]["text"] == " + 1"
    tokens = [{"text": " +", "layers": 6, "draft": ""}, {"text": " 1", "layers": 12, "draft": ""}]
    assert explanation["last"]["tokens"] == tokens and explanation["last"]["passes"] == 2
    states = [status["state"] for status in editor.statuses]
    assert "loading" in states and states[-1] == "ready"
    assert set(editor.statuses[-1]) == {"state", "message", "progress", "reason"}


@pytest.mark.asyncio
@pytest.mark.usefixtures("fake_engine")
async def test_beside_the_editors_list_a_suggestion_begins_with_the_selected_entry(editor: Editor) -> None:
    await editor.start({"model": "fake"})
    editor.open("x = va\n")
    start, here = types.Position(0, 4), types.Position(0, 6)
    entry = types.SelectedCompletionInfo(range=types.Range(start, here), text="value")
    context = types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic, entry)
    document = types.TextDocumentIdentifier(URI)
    answer = await editor.client.text_document_inline_completion_async(
        types.InlineCompletionParams(context=context, text_document=document, position=here)
    )
    [item] = answer.items  # type: ignore[union-attr]
    assert (item.insert_text, item.range) == ("value + 1", types.Range(start, here))
    assert item.command is not None and item.command.arguments is not None
    assert item.command.arguments[1] == len(" + 1"), "the entry is not ours"


@pytest.mark.asyncio
@pytest.mark.usefixtures("fake_engine")
async def test_a_suggestion_that_was_dismissed_does_not_come_again(editor: Editor) -> None:
    await editor.start({"model": "fake"})
    editor.open("x = y\n")
    assert await editor.complete(0, 5)
    editor.client.protocol.notify(messages.LSP_DISMISSED, {})
    assert await editor.complete(0, 5) == []
    assert (await editor.call(messages.LSP_EXPLAIN))["reason"] == "dismissed"
    assert await editor.complete(0, 5, kind=types.InlineCompletionTriggerKind.Invoked)


@pytest.mark.asyncio
@pytest.mark.usefixtures("fake_engine")
async def test_a_cell_of_a_notebook(editor: Editor) -> None:
    started = await editor.start({"model": "fake"})
    assert started.capabilities.notebook_document_sync is not None
    texts = {"first": "total = 1 # nothing", "second": ""}
    notebook, uri = "file:///home/me/a.ipynb", "vscode-notebook-cell:/home/me/a.ipynb#{}".format
    cells = [types.NotebookCell(types.NotebookCellKind.Code, uri(name)) for name in texts]
    items = [types.TextDocumentItem(uri(name), "python", 1, text) for name, text in texts.items()]
    editor.client.notebook_document_did_open(
        types.DidOpenNotebookDocumentParams(types.NotebookDocument(notebook, "jupyter-notebook", 1, cells), items)
    )
    await editor.complete(0, 0, uri=uri("second"))
    assert (await editor.call(messages.LSP_EXPLAIN))["reason"] != "no_context", "there is the first cell"
    origin = types.Position(0, 0)
    typed = types.TextDocumentContentChangePartial(types.Range(origin, origin), "x = nothing")
    editor.client.notebook_document_did_change(
        types.DidChangeNotebookDocumentParams(
            types.VersionedNotebookDocumentIdentifier(version=2, uri=notebook),
            types.NotebookDocumentChangeEvent(
                cells=types.NotebookDocumentCellChanges(
                    structure=types.NotebookDocumentCellChangeStructure(
                        types.NotebookCellArrayChange(0, 1, []), did_close=[types.TextDocumentIdentifier(uri("first"))]
                    ),
                    text_content=[
                        types.NotebookDocumentCellContentChanges(
                            types.VersionedTextDocumentIdentifier(version=2, uri=uri("second")), [typed]
                        )
                    ],
                )
            ),
        )
    )
    assert await editor.complete(0, 11, uri=uri("second")) == []
    assert (await editor.call(messages.LSP_EXPLAIN))["reason"] == "empty", "the fake model has nothing to add to it"
    assert await editor.complete(0, 9, uri=uri("first")) == []
    assert (await editor.call(messages.LSP_EXPLAIN))["reason"] == "filtered", "that cell is gone"
    other = types.TextDocumentItem(uri("second"), "python", 3, "y = nothing")  # as where a cell's language changes
    editor.client.notebook_document_did_change(
        types.DidChangeNotebookDocumentParams(
            types.VersionedNotebookDocumentIdentifier(version=3, uri=notebook),
            types.NotebookDocumentChangeEvent(
                cells=types.NotebookDocumentCellChanges(
                    structure=types.NotebookDocumentCellChangeStructure(
                        types.NotebookCellArrayChange(0, 1, cells[1:]),
                        did_open=[other],
                        did_close=[types.TextDocumentIdentifier(uri("second"))],
                    )
                )
            ),
        )
    )
    assert await editor.complete(0, 11, uri=uri("second")) == []
    assert (await editor.call(messages.LSP_EXPLAIN))["reason"] == "empty", "it is open, with its new text"
    editor.client.notebook_document_did_close(
        types.DidCloseNotebookDocumentParams(
            types.NotebookDocumentIdentifier(notebook), [types.TextDocumentIdentifier(uri("second"))]
        )
    )
    assert await editor.complete(0, 11, uri=uri("second")) == []
    assert (await editor.call(messages.LSP_EXPLAIN))["reason"] == "filtered"


@pytest.mark.asyncio
@pytest.mark.usefixtures("fake_engine")
async def test_edits_reach_the_model_as_typed(editor: Editor) -> None:
    await editor.start({"model": "fake"})
    editor.open("a\fb = '😀'\r\n")  # a form feed is no end of line
    editor.edit(0, 11, "  # nothing")
    assert await editor.complete(0, 18) == [], "the prefix does not end in 'nothing' yet"
    explanation = await editor.call(messages.LSP_EXPLAIN)
    assert "inside a word" in explanation["message"]
    assert await editor.complete(0, 20) == []
    assert "inside a word" in (await editor.call(messages.LSP_EXPLAIN))["message"]
    assert await editor.complete(0, 22) == [], "the fake model has nothing to add to 'nothing'"
    assert (await editor.call(messages.LSP_EXPLAIN))["reason"] == "empty"


@pytest.mark.asyncio
@pytest.mark.usefixtures("fake_engine")
async def test_settings_change_without_a_restart_and_bad_ones_are_named(editor: Editor) -> None:
    await editor.start({"model": "fake", "threshold": 7})
    await editor.until(lambda: editor.client.messages)
    assert "greenCode.threshold" in editor.client.messages[0].message
    editor.open("x = \n")
    assert await editor.complete(0, 4)

    def change(**settings: Any) -> None:
        values = {"greenCode": {"model": "fake", **settings}}
        editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings=values))

    change(enabled=False, threshold=7)
    assert await editor.complete(0, 4) == []
    assert (await editor.call(messages.LSP_EXPLAIN))["reason"] == "disabled"
    assert len(editor.client.messages) == 1, "it is named once while it stays wrong"
    await editor.until(lambda: editor.statuses[-1]["state"] == "disabled")
    change(trigger="manual")
    assert await editor.complete(0, 4) == []
    assert await editor.complete(0, 4, kind=types.InlineCompletionTriggerKind.Invoked)
    change(excludedFiles=["**/a.py"], threshold=7)
    assert await editor.complete(0, 4) == []
    assert len(editor.client.messages) == 2, "and again when it was right meanwhile"
    assert "excluded" in (await editor.call(messages.LSP_EXPLAIN))["message"]


@pytest.mark.asyncio
@pytest.mark.usefixtures("fake_engine")
async def test_a_cancelled_request_is_answered_as_cancelled(editor: Editor) -> None:
    await editor.start({"model": "fake"})
    editor.open("x = \n")
    await editor.complete(0, 4)
    future = editor.client.protocol.send_request(
        types.TEXT_DOCUMENT_INLINE_COMPLETION,
        types.InlineCompletionParams(
            context=types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic),
            text_document=types.TextDocumentIdentifier(URI),
            position=types.Position(0, 4),
        ),
        msg_id="to-cancel",
    )
    editor.client.cancel_request(types.CancelParams(id="to-cancel"))
    answered = await asyncio.wait([asyncio.wrap_future(future)], timeout=WAIT_SECONDS)
    assert not answered[1], "answered, with a result or as cancelled"
    assert await editor.complete(0, 4)


@pytest.mark.asyncio
async def test_restart_engine_and_a_dead_engine(editor: Editor) -> None:
    client = await ensure_engine(place(), command=(sys.executable, str(FAKE)))
    await client.close()
    await editor.start({"model": "fake"})
    editor.open("die\nx = \n")
    assert await editor.complete(1, 4)
    # The front's own engine command starts the real engine, where there is no model called `fake`.
    assert await editor.complete(0, 3) == []
    explanation = await editor.call(messages.LSP_EXPLAIN)
    assert explanation["reason"] in ("model_missing", "internal_error", "engine_lost") and explanation["message"]
    assert "error" in [status["state"] for status in editor.statuses]
    assert await editor.call(messages.LSP_RESTART_ENGINE) == {}
    assert await editor.call(messages.LSP_RESET_GATE) == {"reset": False}, "there is nothing to forget"


@pytest.mark.asyncio
async def test_the_real_engine_with_a_tiny_random_model(editor: Editor) -> None:
    """The whole chain: front, engine, decoder. Random weights: any text will do, and so will none."""
    await editor.start({"model": "tiny-random"})
    editor.open("def add(a, b):\n    return a\n\nprint(add(1, \n")
    items = await editor.complete(3, 13, kind=types.InlineCompletionTriggerKind.Invoked)
    explanation = await editor.call(messages.LSP_EXPLAIN)
    if items:
        assert explanation["last"]["text"] == items[0].insert_text and explanation["last"]["layers_total"] > 0
        await editor.until(lambda: editor.energies)
    else:
        assert explanation["reason"] in ("empty", "breaks_code", *get_args(messages.StopReason)), explanation["message"]
    report = await editor.call(messages.LSP_REPORT)
    assert report["all"]["completions"] == 1


@pytest.mark.slow  # tiny-random above covers the same path
@pytest.mark.real_model
@pytest.mark.asyncio
async def test_the_default_model_completes_and_reports_energy(editor: Editor) -> None:
    await editor.start({})
    editor.open("names = load_names()\nfor name in")
    by_hand = types.InlineCompletionTriggerKind.Invoked
    answer = await asyncio.wait_for(editor.request(1, 11, kind=by_hand), FIRST_START_SECONDS)
    assert "names" in answer.items[0].insert_text
    last = (await editor.call(messages.LSP_EXPLAIN))["last"]
    assert last["layers_total"] == 18 and last["energy_joules"] > 0
    await editor.until(lambda: editor.energies)
    assert editor.energies[-1]["model"] == "gemma-3-270m"
    assert len(editor.energies[-1]["last_exits"]) == len(last["tokens"])
