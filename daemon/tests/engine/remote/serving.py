"""A server for tests: HTTP on this machine, with scripted answers."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODEL = "code-7b"
CERTIFICATE = Path(__file__).with_name("self_signed.pem")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["Content-Length"])))

    def _serve(self, body: bytes) -> None:
        serving = self.server.serving
        serving.requests.append((self.path, dict(self.headers), json.loads(body) if body else {}))
        answer = serving.answers.get(self.path)
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client may leave at any time
            if answer is None:
                self.reply(404, b"{}")
            else:
                answer(self)

    def reply(self, status: int, content: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def begin_stream(self, kind: str = "text/event-stream") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    serving: Serving

    def handle_error(self, *args: Any) -> None:
        pass  # a broken TLS handshake


Answer = Callable[[Handler], None]


@dataclass
class Serving:
    """What it answers by path, what it was asked (path, headers, body), and how many events of a stream it could send."""

    origin: str
    answers: dict[str, Answer]
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    sent: int = 0

    @property
    def address(self) -> str:
        return f"{self.origin}/v1"

    def completions(self) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
        return [request for request in self.requests if request[0].endswith(("/completions", "/infill"))]


@contextlib.contextmanager
def serving(encrypted: bool = False) -> Iterator[Serving]:
    """It has one model, and no completions yet."""
    server = _Server(("127.0.0.1", 0), Handler)
    if encrypted:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    origin = f"{'https' if encrypted else 'http'}://127.0.0.1:{server.server_port}"
    server.serving = found = Serving(origin, {"/v1/models": models(MODEL)})
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def models(*names: str) -> Answer:
    return lambda handler: handler.reply(200, json.dumps({"data": [{"id": name} for name in names]}).encode())


def streams(
    events: Sequence[Any], end: bytes = b"data: [DONE]\n\n", pause: Callable[[], None] = lambda: None
) -> Answer:
    """Server-sent events; those that are bytes are sent as they are."""

    def answer(handler: Handler) -> None:
        handler.begin_stream()
        for event in events:
            data = event if isinstance(event, bytes) else f"data: {json.dumps(event)}\n\n".encode()
            handler.wfile.write(data)
            handler.server.serving.sent += 1
            pause()
        handler.wfile.write(end)

    return answer


def openai(text: str, *log_probabilities: float, **more: Any) -> dict[str, Any]:
    """An event of OpenAI's legacy completions, as vLLM sends it."""
    found = {"tokens": ["?"] * len(log_probabilities), "token_logprobs": list(log_probabilities)}
    return {"model": MODEL, "choices": [{"index": 0, "text": text, "logprobs": found, "finish_reason": None, **more}]}


def llama(text: str, log_probability: float) -> dict[str, Any]:
    """An event of llama-server's `/v1/completions`."""
    content = [{"id": 1, "token": text, "bytes": list(text.encode()), "logprob": log_probability, "top_logprobs": []}]
    return {
        "model": MODEL,
        "choices": [{"index": 0, "text": text, "logprobs": {"content": content}, "finish_reason": None}],
    }


def infill(text: str, log_probability: float) -> dict[str, Any]:
    """An event of llama-server's `/infill`."""
    found = [{"id": 1, "token": text, "bytes": list(text.encode()), "logprob": log_probability, "top_logprobs": []}]
    return {"index": 0, "content": text, "stop": False, "tokens": [1], "completion_probabilities": found}


def tokenizer(*special: str) -> Answer:
    """`/tokenize` of a server that knows these special tokens."""

    def answer(handler: Handler) -> None:
        text = handler.server.serving.requests[-1][2]["content"]
        handler.reply(200, json.dumps({"tokens": [7] if text in special else list(text.encode())}).encode())

    return answer
