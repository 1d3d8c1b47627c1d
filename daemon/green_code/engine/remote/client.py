"""HTTP to one server: requests with a limit of time and size, and a sentence for each way in which they fail.

It follows no redirect, since that would lead to a host that the user has not named. The API key goes to the endpoint's own origin alone,
and stands in no message. A server on this machine is reached without a proxy.
Must not know: what is asked, or what becomes of the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, Final

import httpx2

from green_code.endpoints import Endpoint
from green_code.engine.interfaces import EndpointProblem
from green_code.problems import Problem

CONNECT_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 30.0
"""A server that sends nothing of an answer for so long hangs. A long prompt takes some seconds on a slow one; who types on cancels the request."""
ANSWER_BYTES: Final = 1 << 20
"""Of a whole answer, at most."""
LONGEST_WAIT_SECONDS: Final = 600.0
"""For which a server may ask before the next request (Retry-After)."""
_REFUSED: Final = (400, 413, 422)
"""Statuses of a request that the server cannot answer, though it may answer others."""


class Client:
    """
    Args:
        api_key: the one in force now; empty: none.
    """

    def __init__(self, endpoint: Endpoint, api_key: Callable[[], str]) -> None:
        self.endpoint = endpoint
        self._api_key = api_key
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=not endpoint.is_local,
            headers={"Accept-Encoding": "identity"},  # the limits are of what is read
        )

    async def ask(self, method: str, address: str, body: dict[str, Any] | None = None) -> bytes | None:
        """The answer's content; None where the server does not know the address or the method.

        Raises:
            EndpointProblem: there is none.
        """
        with self._telling():
            return await asyncio.wait_for(self._answer(method, address, body), SILENT_SECONDS)

    async def _answer(self, method: str, address: str, body: dict[str, Any] | None) -> bytes | None:
        async with self._response(method, address, body) as response:
            if response.status_code in (*_REFUSED, 404, 405, 501):
                return None
            self._check(response)
            return b"".join([chunk async for chunk in self._limited(response, ANSWER_BYTES)])

    async def events(self, body: dict[str, Any], most_bytes: int = ANSWER_BYTES) -> AsyncGenerator[bytes, None]:
        """The events of a completion as they come, each a JSON text; one where the server does not stream. Closing it ends the request.

        Raises:
            EndpointProblem: there is no answer, or its end is missing. Problem: the server refuses this request.
        """
        with self._telling():
            async with self._response("POST", self.endpoint.completions, body) as response:
                self._check(response)
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                chunks = self._limited(response, most_bytes)
                if kind == "application/json":
                    yield b"".join([chunk async for chunk in chunks])
                elif kind == "text/event-stream":
                    async for data in _data(chunks):
                        yield data
                else:
                    raise self._problem("answers with something else than a completion; check greenCode.endpoint")

    @contextlib.asynccontextmanager
    async def _response(self, method: str, address: str, body: dict[str, Any] | None) -> AsyncIterator[httpx2.Response]:
        """Asked once more if the server has just closed the connection, which was open from an earlier request."""
        api_key = self._api_key()
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        request = self._http.build_request(method, address, json=body, headers=headers)
        try:
            response = await self._http.send(request, stream=True)
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
            response = await self._http.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def close(self) -> None:
        await self._http.aclose()

    async def _limited(self, response: httpx2.Response, most_bytes: int) -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > most_bytes:
                raise self._problem(f"sends more than {most_bytes:,} bytes, which is no completion")
            yield chunk

    def _check(self, response: httpx2.Response) -> None:
        status = response.status_code
        if status in _REFUSED:
            text = f"{self.endpoint.host} refuses this prompt ({status}); if that server's log says that it is too long, lower greenCode.maxPromptTokens."
            raise Problem("endpoint_failed", text)
        if status in (401, 403):
            missing = "refuses the API key" if self._api_key() else "wants an API key"
            raise self._problem(f"{missing} ({status}). Run Green Code: Set API Key")
        if 300 <= status < 400:
            raise self._problem(
                f"redirects to another address ({status}), which is not followed; set greenCode.endpoint to that"
            )
        if status in (429, 503):
            wait_seconds = _seconds(response.headers.get("retry-after", ""))
            raise self._problem(f"has no time now ({status}); it is asked again later", wait_seconds)
        if status == 404:
            raise self._problem("has no completions at this address (404); check greenCode.endpoint")
        if status != 200:
            raise self._problem(f"answers with the error {status}; see that server's log")

    def no_answer(self) -> EndpointProblem:
        """What is said of a server that hangs."""
        return self._problem("does not answer; check that the server runs, and greenCode.endpoint")

    def _problem(self, what: str, wait_seconds: float = 0.0) -> EndpointProblem:
        return EndpointProblem(f"{self.endpoint.host} {what}.", wait_seconds)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Turns what the library raises into an EndpointProblem. Its own words are left out: some repeat what was sent."""
        try:
            yield
        except (httpx2.TimeoutException, asyncio.TimeoutError):
            raise self.no_answer() from None
        except (httpx2.InvalidURL, UnicodeError):
            raise self._problem("is no name of a host; check greenCode.endpoint") from None
        except httpx2.HTTPError as error:
            if (fault := _certificate_fault(error)) is not None:
                raise self._problem(f"has no valid certificate ({fault}), so nothing was sent") from None
            if isinstance(error, httpx2.ConnectError):
                raise self._problem("cannot be reached; check that the server runs, and greenCode.endpoint") from None
            raise self._problem("ended the connection before its answer was complete") from None


async def _data(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The data of server-sent events, up to the one that ends OpenAI's streams."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data = line.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    return
                yield data


def _certificate_fault(error: BaseException) -> str | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message or "verification failed"
        if isinstance(cause, ssl.SSLError):
            return "no encrypted connection"
        cause = cause.__cause__ or cause.__context__
    return None


def _seconds(text: str) -> float:
    return min(float(text), LONGEST_WAIT_SECONDS) if text.isascii() and text.isdecimal() else 0.0
