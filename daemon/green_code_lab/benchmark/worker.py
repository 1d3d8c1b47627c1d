"""`python -m green_code_lab.benchmark.worker`: a peer's own process, which measures what the peer does in it.

It reads one JSON object a line from standard input and answers each with one on standard output:
    {"do": "open", "kind", "options"}                             → {"said", "source", "meter"}, for the table
    {"do": "complete", "ids", "text", "count", "cold", "threads"} → {"tokens", "seconds", "cpu_seconds", "joules"}
    {"do": "memory"}                                              → {"bytes"}
What fails is answered with {"error"}. Whatever the engine prints goes to standard error.

Must not import more than its peer needs: the memory of this process is the peer's.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

import psutil

from green_code.energy.meters import Meter, Window, pick_meter
from green_code_lab.benchmark.cores import pin
from green_code_lab.benchmark.peer import Peer, Prompt


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    peers: list[Peer] = []  # the one that was opened
    meter = pick_meter(None)
    for line in sys.stdin:
        try:
            answer = _answer(peers, meter, json.loads(line))
        except Exception as error:  # the engines are others' programs: anything may come
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(peers: list[Peer], meter: Meter, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["do"] == "open":
        module = importlib.import_module(f"green_code_lab.benchmark.peers.{asked['kind']}")
        peers.append(module.open_peer(**asked["options"]))
        return {"said": peers[0].describe(), "source": meter.source, "meter": meter.describe()}
    if asked["do"] == "memory":
        return {"bytes": psutil.Process().memory_info().rss}
    peer = peers[0]
    pin(asked["threads"])
    peer.use_threads(asked["threads"])
    if asked["cold"]:
        peer.forget()
    prompt = Prompt(tuple(asked["ids"]), asked["text"])
    with Window(meter) as window:
        tokens = peer.complete(prompt, asked["count"])
    reading = window.reading
    assert reading is not None  # the window has ended
    return {
        "tokens": list(tokens),
        "seconds": reading.seconds,
        "cpu_seconds": reading.cpu_seconds,
        "joules": reading.joules,
    }


if __name__ == "__main__":
    main()
