"""Whatever bytes the front reads: it answers, goes on or ends with a message, and its log stays short and private."""

from __future__ import annotations

import logging

import pytest

from green_code.cli.lsp import without_user_text
from tests.lsp.stdio import EXPLAIN, INITIALIZE, SHUTDOWN_AND_EXIT, frame, run_front, serve

pytestmark = pytest.mark.usefixtures("folders")


def test_exit_ends_the_process_cleanly() -> None:
    polite = run_front(frame(INITIALIZE) + SHUTDOWN_AND_EXIT)
    assert polite.status == 0 and "Traceback" not in polite.log
    gone = run_front(frame(INITIALIZE))
    assert gone.status == 1 and "Traceback" not in gone.log
    rude = serve(frame(INITIALIZE) + frame('{"jsonrpc":"2.0","method":"exit"}'))
    assert rude.status == 1 and "Traceback" not in rude.log


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ("{", -32700),
        ("[]", -32600),
        ('{"jsonrpc":"2.0","id":[],"method":"x"}', -32600),
        ('{"jsonrpc":"2.0","id":5,"method":"textDocument/inlineCompletion","params":{"position":"here"}}', -32602),
        ('{"jsonrpc":"2.0","id":5,"method":"greenCode/explain","params":' + "[" * 800 + "]" * 800 + "}", -32600),
        ('{"jsonrpc":"2.0","id":5,"method":"greenCode/frobnicate","params":{}}', -32601),
        ('{"jsonrpc":"2.0","id":5,"method":"initialize","params":{"capabilities":{"jsonrpc":"2.0"}}}', -32600),
        ('{"jsonrpc":"2.0","method":"greenCode/accepted","params":{"id":["a"],"characters":' + "9" * 400 + "}}", None),
        ('{"jsonrpc":"2.0","method":"greenCode/accepted","params":' + "[" * 90 + "]" * 90 + "}", None),
        ('{"jsonrpc":"2.0","method":"workspace/didChangeConfiguration","params":{"settings":[[[]]]}}', None),
        ('{"jsonrpc":"2.0","method":"textDocument/didChange","params":{}}', None),
        ('{"jsonrpc":"2.0","id":77,"result":{}}', None),
        ('{"jsonrpc":"2.0","id":null,"error":null}', None),
    ],
)
def test_a_bad_message_is_answered_and_the_next_ones_are_read(bad: str, code: int | None) -> None:
    done = serve(
        frame(INITIALIZE)
        + frame(bad)
        + frame(EXPLAIN).replace(b"Content-Length", b"content-length")
        + SHUTDOWN_AND_EXIT
    )
    found = done.answers
    assert done.status == 0 and found[9]["result"]["reason"] and "end" in found
    assert "Traceback" not in done.log
    if code is not None:
        bad_id = 5 if '"id":5' in bad else None
        assert found[bad_id]["error"]["code"] == code and len(found[bad_id]["error"]["message"]) < 300


@pytest.mark.parametrize(
    "bad", [b"Content-Length: abc\r\n\r\n{}", frame("{}") + b"and more" + frame("{}"), b"\r\n" * 40]
)
def test_a_bad_header_ends_the_front_with_a_message(bad: bytes) -> None:
    done = serve(frame(INITIALIZE) + bad + frame(EXPLAIN) + SHUTDOWN_AND_EXIT)
    assert done.status == 1 and 9 not in done.answers
    assert done.answers[None]["error"]["code"] in (-32700, -32600)
    assert "cannot be read on" in done.log and "Traceback" not in done.log


def test_nothing_is_answered_before_initialize() -> None:
    done = serve(
        frame('{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{}}')
        + frame(EXPLAIN)
        + frame(INITIALIZE)
        + frame(EXPLAIN.replace("9", "10"))
        + SHUTDOWN_AND_EXIT
    )
    found = done.answers
    assert found[9]["error"]["code"] == -32002 and "result" in found[10] and done.status == 0


def test_hostile_messages_fill_no_log() -> None:
    bad = '{"jsonrpc":"2.0","id":5,"method":"textDocument/inlineCompletion","params":{"position":"here"}}'
    done = run_front(frame(INITIALIZE) + (frame(bad) + frame("{") + frame(EXPLAIN)) * 500 + SHUTDOWN_AND_EXIT)
    assert done.status == 0 and len(done.log) < 20_000


def test_the_log_holds_no_text_of_the_users() -> None:
    opened = (
        '{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{"textDocument":'
        '{"uri":"file:///a.py","languageId":"python","version":1,"text":"hunter2 = 1"}}}'
    )
    assert "hunter2" not in run_front(frame(INITIALIZE) + frame(opened), "--verbose").log


def test_errors_of_the_library_are_logged_without_the_text_they_were_about() -> None:
    name = "pygls.protocol.json_rpc"
    failed = logging.LogRecord(name, logging.ERROR, "", 0, "Failed to handle %r: %s", ("didOpen", "hunter2"), None)
    assert without_user_text(failed) and failed.getMessage() == "Failed to handle %r: %s"
    sent = logging.LogRecord(name, logging.INFO, "", 0, "Sending data: %s", ("hunter2",), None)
    ours = logging.LogRecord("green_code.lsp.front", logging.INFO, "", 0, "state %s", ("ready",), None)
    assert not without_user_text(sent)
    assert without_user_text(ours) and ours.getMessage() == "state ready"
