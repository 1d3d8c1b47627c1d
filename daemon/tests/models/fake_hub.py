"""A server on localhost that speaks the hub's API, as far as `huggingface_hub` uses it to list and download a repository.

Paths and headers: https://huggingface.co/docs/hub/api; large files are redirected to another address, as the hub does.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import huggingface_hub.constants
import pytest

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Files of the repository `org/model` at `REVISION`, and what goes wrong."""

    files: dict[str, bytes]
    large: int = 1000  # bytes from which on a file is in LFS
    gated: bool = False
    token: str | None = None  # that opens a gated repository
    cut_after: int | None = None  # bytes of a large file, after which the connection ends; later requests get 503
    served: dict[str, bytes] = field(default_factory=dict)  # other bytes than those that the metadata describes
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range
    url: str = ""

    def described(self) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for name, data in self.files.items():
            one: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": self.etag(name, git=True)}
            if len(data) >= self.large:
                one["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            siblings.append(one)
        return {
            "id": "org/model",
            "modelId": "org/model",
            "sha": REVISION,
            "siblings": siblings,
            "tags": [],
            "private": False,
        }

    def etag(self, name: str, git: bool = False) -> str:
        data = self.files[name]
        if len(data) >= self.large and not git:
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        hub.requests.append((self.command, path, self.headers.get("Range")))
        if path.startswith("/lfs/") and "Authorization" in self.headers:  # another host's, which must not see the token
            return self._send(400, b"", {}, with_body)
        opened = self.headers.get("Authorization") == f"Bearer {hub.token}"
        if hub.gated and path.startswith("/org/model/resolve/") and not opened:  # what there is may be listed
            status = 403 if self.headers.get("Authorization") else 401
            return self._send(
                status, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}, with_body
            )
        if path.startswith("/api/models/org/model/revision/"):
            if path.endswith((REVISION, "/main")):
                return self._send(
                    200, json.dumps(hub.described()).encode(), {"Content-Type": "application/json"}, with_body
                )
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"}, with_body)
        name = path.rpartition("/")[2]
        if name in hub.files and path.startswith(("/org/model/resolve/", "/lfs/")):
            return self._file(name, path, with_body)
        code = "RepoNotFound" if "org/model" not in path else "EntryNotFound"
        return self._send(404, b"", {"X-Error-Code": code}, with_body)

    def _file(self, name: str, path: str, with_body: bool) -> None:
        hub, data = self.hub, self.hub.files[name]
        is_large = len(data) >= hub.large
        headers = {"X-Repo-Commit": REVISION, "ETag": f'"{hub.etag(name)}"', "Accept-Ranges": "bytes"}
        if is_large and path.startswith("/org"):
            linked = {
                "X-Linked-ETag": f'"{hub.etag(name)}"',
                "X-Linked-Size": str(len(data)),
                "Location": f"http://localhost:{self.server.server_address[1]}/lfs/{name}",
            }
            return self._send(302, b"", {**headers, **linked}, with_body)
        data = hub.served.get(name, data)
        if is_large and with_body and hub.cut_after == 0:
            return self._send(503, b"", {}, with_body)
        status, total = 200, len(data)
        if (wanted := self.headers.get("Range")) is not None:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= total:
                return self._send(416, b"", {"Content-Range": f"bytes */{total}"}, with_body)
            status, data = 206, data[start:]
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        if is_large and with_body and hub.cut_after is not None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(data[: hub.cut_after])
            self.wfile.flush()
            hub.cut_after, self.close_connection = 0, True
            return None
        return self._send(status, data, headers, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@contextmanager
def serve(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Run the server, and point `huggingface_hub` of this process to it, without a cache of the user's."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    point_to(hub.url, monkeypatch)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint that `huggingface_hub` reads from HF_ENDPOINT when it is imported."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr("green_code.models.hub.BLOCK", 1000)
