"""Random sequences of messages: to an engine as frames, to a front as LSP. A right request between them must always be answered."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Iterator
from typing import Any

from green_code.link import framing, messages
from green_code.models.rows import TINY
from tests.engine.fake_runtime import completion_params
from tests.trials import hostile_values
from tests.trials.rig import Ended, Engine, Front, Hang, Peer, engine_pid, percentiles, workplace
from tests.trials.runner import Outcome, Plan
from tests.trials.seeds import cases

PROBE = "def add(a, b):\n    return a"
REQUESTS = (messages.COMPLETE, messages.STATUS, messages.REPORT, messages.HELLO, "no such method")
NOTIFICATIONS = (messages.CANCEL, messages.SHOWN, messages.ACCEPTED, messages.RETAINED, "no such method")
DOCUMENTS = tuple(f"file:///trial/{name}" for name in ("b.py", "c.java", "d.ts", "none"))
TEXTS = ("", "x = ", PROBE, "class A {\n\n}\n", "\ufeffa\r\nb\rc\n", "((((((((", "é𝄞\u2028" * 20, "    \t\n" * 50)


def frames(plan: Plan) -> Outcome:
    """Each sequence has its own connection; another one, which behaves, watches the engine."""
    tried = cases("frames", plan, 2000)
    outcome = Outcome("sequences of messages and bytes to the engine", len(tried))
    waits: list[float] = []
    with workplace(plan.folder), Engine() as engine, Peer() as watcher:
        watcher.hello(TINY)
        watcher.complete(PROBE)
        wanted = watcher.complete(PROBE)["result"]["text"]
        for of, number in tried:
            seed = f"frames {of} {number}"
            with contextlib.suppress(Ended), Peer() as peer:
                for failure in _sequence(peer, random.Random(seed)):
                    outcome.failures.append(f"{seed}: {failure}")
            if number % 10 == 9:
                began = time.monotonic()
                try:
                    found = watcher.complete(PROBE)
                    if found.get("result", {}).get("text") != wanted:
                        outcome.failures.append(f"{seed}: then a right request gave {str(found)[:200]}")
                except (Hang, Ended) as error:
                    outcome.failures.append(f"{seed}: then a right request failed ({type(error).__name__}: {error})")
                    break
                waits.append(time.monotonic() - began)
        if engine_pid() != engine.pid:
            outcome.failures.append("another engine runs, or none")
    outcome.figures = f"right requests {percentiles(waits)}"
    return outcome


def _sequence(peer: Peer, numbers: random.Random) -> Iterator[str]:
    """Send a sequence; yields what is wrong with the answers."""
    if numbers.random() < 0.9:
        peer.hello(numbers.choice((None, None, TINY)))
    for _ in range(numbers.randrange(1, 9)):
        kind = numbers.randrange(10)
        if kind < 5:
            method = numbers.choice(REQUESTS)
            params: Any = completion_params(numbers.choice(TEXTS), model=TINY) if method == messages.COMPLETE else {}
            if numbers.random() < 0.7:
                params[numbers.choice((*params, "more"))] = hostile_values.value(numbers)
            _send(peer, {"id": numbers.choice((1, 2, 3, 2**40)), "method": method, "params": params})
        elif kind < 8:
            of = {"id": hostile_values.value(numbers), "characters": hostile_values.value(numbers)}
            _send(peer, {"method": numbers.choice(NOTIFICATIONS), "params": of})
        elif kind == 8:
            message = {"id": 1, "method": messages.STATUS, "params": {}, hostile_values.PLAIN[13]: 1}
            message[numbers.choice(("id", "method", "params"))] = hostile_values.value(numbers)
            _send(peer, message)
        else:
            whole = framing.encode({"id": 9, "method": messages.STATUS, "params": {}})
            peer.send_bytes(
                numbers.choice((numbers.randbytes(20), whole[:-3], b"\xff" * 4, hostile_values.damaged(whole, numbers)))
            )
    for answer in peer.drain(0.02 if numbers.random() < 0.9 else 0.5):
        error = answer.get("error") or {}
        if error.get("code") == "internal_error":
            yield f"internal_error: {error.get('message')}"
        if len(str(error.get("message", ""))) > 1000:
            yield f"a message of {len(error['message'])} characters"


def _send(peer: Peer, message: dict[Any, Any]) -> None:
    with contextlib.suppress(framing.FrameError):  # a value that msgpack lacks
        peer.send(message)


def editors(plan: Plan) -> Outcome:
    """Sequences to one front after another; each must answer a right request at the end, or have ended after a broken header."""
    tried = cases("lsp", plan, 300)
    outcome = Outcome("sequences of messages and bytes to the language server", len(tried))
    waits: list[float] = []
    with workplace(plan.folder):
        front: Front | None = None
        for of, number in tried:
            seed = f"editors {of} {number}"
            numbers = random.Random(seed)
            front = front or Front()
            broken = numbers.random() < 0.05
            try:
                for failure in _edits(front, numbers):
                    outcome.failures.append(f"{seed}: {failure}")
                if broken:
                    front.send_bytes(
                        numbers.choice(
                            (b"Content-Length: abc\r\n\r\n", b"content-length: 2\r\n\r\n{}", b"\r\n\r\n", b"{}\n" * 9)
                        )
                    )
                began = time.monotonic()
                front.open(PROBE, "file:///trial/probe.py")
                answer = front.complete(1, 12, "file:///trial/probe.py")
                front.notify("textDocument/didClose", {"textDocument": {"uri": "file:///trial/probe.py"}})
                waits.append(time.monotonic() - began)
                if "error" in answer:
                    outcome.failures.append(f"{seed}: then a right request gave {str(answer)[:300]}")
            except (Hang, Ended) as error:
                if not (broken and isinstance(error, Ended)):
                    outcome.failures.append(f"{seed}: {type(error).__name__}: {error}")
                front.__exit__()
                front = None
        if front is not None:
            front.__exit__()
    outcome.figures = f"right requests {percentiles(waits)}"
    return outcome


def _edits(front: Front, numbers: random.Random) -> Iterator[str]:
    for _ in range(numbers.randrange(1, 8)):
        uri, kind = numbers.choice(DOCUMENTS), numbers.randrange(8)
        position = {"line": numbers.choice((0, 1, 7, 2**31 - 1)), "character": numbers.choice((0, 3, 12, 2**31 - 1))}
        if kind == 0:
            front.open(numbers.choice(TEXTS), uri)
        elif kind == 1:
            changes = [{"range": {"start": position, "end": position}, "text": numbers.choice(TEXTS)}]
            document = {"uri": uri, "version": numbers.choice((-1, 0, 2, 2**31 - 1))}
            front.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})
        elif kind == 2:
            front.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        elif kind == 3:
            settings = {
                numbers.choice(("threshold", "model", "excludedFiles", "[python]", "maxLines", "x")): _json(numbers)
            }
            front.notify("workspace/didChangeConfiguration", {"settings": {"greenCode": {"model": TINY, **settings}}})
            front.notify(
                "workspace/didChangeConfiguration", {"settings": {"greenCode": {"model": TINY, "adaptiveGate": False}}}
            )
        elif kind == 4:
            method = numbers.choice(
                (
                    "greenCode/accepted",
                    "greenCode/dismissed",
                    "$/cancelRequest",
                    "$/setTrace",
                    "workspace/executeCommand",
                )
            )
            front.notify(method, {"id": _json(numbers), "characters": _json(numbers)})
        else:
            method = numbers.choice(
                ("textDocument/inlineCompletion", "greenCode/explain", "greenCode/report", "greenCode/resetGate", "x")
            )
            context = {"triggerKind": numbers.choice((1, 2))}
            params: Any = {"textDocument": {"uri": uri}, "position": position, "context": context}
            if numbers.random() < 0.4:
                params[numbers.choice((*params, "more"))] = _json(numbers)
            try:
                json.dumps(params, allow_nan=False)
            except (
                ValueError,
                RecursionError,
            ):  # no JSON, or too deep to be read: the answer, if there is one, has no id
                front.notify(method, params)
                continue
            answer = front.request(method, params)
            if "error" in answer and answer["error"].get("code") == -32603:  # JSON-RPC: internal error
                yield f"{method}: {str(answer['error'])[:300]}"


def _json(numbers: random.Random) -> Any:
    return hostile_values.as_json(hostile_values.value(numbers))
