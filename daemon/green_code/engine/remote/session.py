"""A document's completions from a server: the prompt, stop rules, stop policy and cuts are those of local models.

The stop is the running product of the log-probabilities that the server sends. As soon as the product is below it, the request is closed,
and the server computes no further. Where a server sends none, a completion ends with its line.
Must not know: HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from pathlib import PurePath
from typing import Any, Final, TypeVar

from green_code.decoding.cutting import finished
from green_code.decoding.generate import Generated, generate
from green_code.decoding.stop_rules import Situation
from green_code.decoding.stopping import Counting, StopView
from green_code.decoding.verifier import Decoded
from green_code.energy.rows import SERVER, UNKNOWN
from green_code.engine.interfaces import Cancelled, EndpointProblem
from green_code.engine.prompts import Prompt, PromptLayout, prompt_of
from green_code.engine.remote.answers import Piece, Unusable, piece_of
from green_code.engine.remote.client import SILENT_SECONDS, Client
from green_code.engine.remote.text import Characters, in_characters, infill_body
from green_code.link.messages import CompletionParams, CompletionResult, PromptForm
from green_code.models.vocabulary import NO_WORD
from green_code.settings import STOPS
from green_code.work import Work

BUDGET_SECONDS: Final = 5.0
"""After the first token, none is awaited longer: it would be of no use."""
_POLL_SECONDS: Final = 0.02
_EVENT_BYTES: Final = 4096  # of one token's event, much more than it has
_LEAST_BYTES: Final = 1 << 16
_LOG_ODDS_AT_MOST: Final = 40.0
_END: Final = -1
_POSITIONS: Final = 1 << 20  # the server's are unknown; the limit of the prompt is lower

Found = TypeVar("Found")


class _Interrupted(Exception):
    """The request was cancelled or superseded, or its time is over."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Spelled:
    """Stands for a vocabulary: each piece of the completion is a token of its own."""

    eos: frozenset[int] = frozenset([_END])

    def __init__(self) -> None:
        self.token_bytes: list[bytes] = []


class _Counted:
    """Counts the work of stop policies, as a cache does."""

    def __init__(self) -> None:
        self.work = Work()


class _ServersProduct:
    """The running product. Where the server says nothing, it stops nothing, but lets no completion go on over the end of a line."""

    refusal = None

    def __init__(self, threshold: float) -> None:
        self.threshold, self.is_known = threshold, True

    def right(self, counting: Counting, view: StopView) -> float:
        return view.product if self.is_known else self.threshold


class RemoteSession:
    """
    Args:
        model: what the server is to be asked for, and answers as; empty: it has one.
        loop: where the client's coroutines run, while a completion is computed.
    """

    cache_bytes = 0

    def __init__(self, client: Client, model: str, layout: PromptLayout, loop: asyncio.AbstractEventLoop) -> None:
        self._client, self._model, self._layout, self._loop = client, model, layout, loop

    def trim(self) -> None:
        """See `interfaces.Session`. The server has the cache."""

    def complete(self, params: CompletionParams, cancelled: Cancelled) -> CompletionResult:
        """See `interfaces.Session`. Puts what a server does into the parameters: every token at full depth.

        Raises:
            EndpointProblem: the server does not answer, or with something else than a completion.
            Problem: it refuses this prompt.
        """
        params["decoding"], params["threshold"] = "full", 1.0
        wall, cpu = time.monotonic(), time.process_time()
        situation = Situation.at(
            params["prefix"], params["suffix"], params["single_line"], params["max_lines"], params["language"]
        )
        generated, last, is_known = Generated(), Piece(), True
        form: PromptForm = "prefix"
        if not params["prefix"].strip():
            generated.reason = "no_context"
        else:
            read = prompt_of(in_characters(params), situation, Characters(), self._layout, _POSITIONS)
            form = read.form
            request = _Request(self, params, read, cancelled)
            try:
                request.complete(generated, situation)
            except _Interrupted as interruption:
                generated.reason = interruption.reason
                if generated.reason == "budget":
                    if not request.pieces:
                        raise self._client.no_answer() from None
                    if not generated.text:
                        raise EndpointProblem(f"{self.host} did not go on within {BUDGET_SECONDS:.0f} s.") from None
                    generated.text = finished(generated.text, "budget", situation)
            finally:
                request.close()
            last, is_known = request.last, request.product.is_known
        return _result(generated, form, last, is_known, time.monotonic() - wall, time.process_time() - cpu)

    def body(self, read: Prompt, behind: str, max_tokens: int) -> dict[str, Any]:
        """What the server is sent. Greedy, as local models are.

        Args:
            behind: text that ends the prompt.
        """
        asked: dict[str, Any] = {"temperature": 0, "stream": True}
        if self._model:
            asked["model"] = self._model
        if self._client.endpoint.infill:
            return {**asked, **infill_body(read.tokens, behind), "n_predict": max_tokens, "n_probs": 1}
        prompt = Characters().decode(read.tokens) + behind
        return {**asked, "prompt": prompt, "max_tokens": max_tokens, "logprobs": 1}

    def events(self, body: dict[str, Any], max_tokens: int) -> AsyncGenerator[bytes, None]:
        """See `Client.events`."""
        return self._client.events(body, _LEAST_BYTES + _EVENT_BYTES * max_tokens)

    def checked(self, content: bytes) -> Piece:
        """A piece, from the model that was asked. Raises EndpointProblem."""
        try:
            piece = piece_of(content)
        except Unusable as fault:
            raise EndpointProblem(f"{self.host} {fault}.") from None
        if self._model and piece.model and not _is_same(self._model, piece.model):
            raise EndpointProblem(f"{self.host} answers with another model than the one in greenCode.endpoint.")
        return piece

    @property
    def host(self) -> str:
        return self._client.endpoint.host

    def run(self, work: Coroutine[Any, Any, Found]) -> Found:
        """Run something of the client's to its end."""
        return self._loop.run_until_complete(work)


class _Request:
    """One completion that is being read."""

    def __init__(self, session: RemoteSession, params: CompletionParams, read: Prompt, cancelled: Cancelled) -> None:
        self.last, self.pieces = Piece(), 0
        self._session, self._params, self._cancelled = session, params, cancelled
        # A blank at the end of a prompt belongs to the token behind it, which has to be generated with it.
        self._required = read.required if read.required in (b" ", NO_WORD) else b""
        behind = "" if self._required else read.required.decode()
        limit = params["max_tokens"]
        self._events = session.events(session.body(read, behind, limit), limit)
        self._spelled = _Spelled()
        stop = params["stop"]
        self.product = _ServersProduct(STOPS[stop] if isinstance(stop, str) else stop)

    def complete(self, generated: Generated, situation: Situation) -> None:
        """See `generate`. Raises EndpointProblem and _Interrupted."""
        generate(
            generated,
            _Counted(),
            self._stream(),
            self._spelled,
            required=self._required,
            situation=situation,
            stop=self.product if self.product.threshold else None,
            max_tokens=self._params["max_tokens"],
            deadline=math.inf,  # see `_pieces`
        )

    def close(self) -> None:
        """End the request, wherever it is."""
        self._session.run(_closed(self._events))

    def _stream(self) -> Iterator[Decoded]:
        """The pieces as decoded tokens. A text that does not go on where the prompt ends is none."""
        before, required = 0.0, self._required
        for piece in self._pieces():
            before += piece.log_probability or 0.0
            if piece.text:
                if piece.log_probability is None:
                    self.product.is_known = False
                data = piece.text.encode()
                if required == NO_WORD:
                    begins = re.match(r"\w", piece.text) is None
                else:
                    begins = data.startswith(required[: len(data)])
                if not begins:
                    break
                required = b""
                yield self._decoded(data, before)
                before = 0.0
            if piece.ended:
                break
        else:
            return
        yield Decoded(_END, 0, 0.0, 0)

    def _decoded(self, data: bytes, log_probability: float) -> Decoded:
        self._spelled.token_bytes.append(data)
        return Decoded(len(self._spelled.token_bytes) - 1, 0, _log_odds(log_probability), 0)

    def _pieces(self) -> Iterator[Piece]:
        """As they come. Raises _Interrupted where one comes too late; the first may take as long as the prompt does."""
        # Comments of a server that reads the prompt keep its connection alive, and are no pieces.
        deadline = time.monotonic() + SILENT_SECONDS
        while True:
            content = self._session.run(_heard(_next(self._events), deadline, self._cancelled))
            if not self.pieces:
                deadline = time.monotonic() + BUDGET_SECONDS
            if content is None:
                break
            self.pieces += 1
            self.last = self._session.checked(content)
            yield self.last
        if not self.pieces:
            raise EndpointProblem(f"{self._session.host} ended its answer before it began.")


async def _next(events: AsyncGenerator[bytes, None]) -> bytes | None:
    async for content in events:
        return content
    return None


async def _closed(events: AsyncGenerator[bytes, None]) -> None:
    with contextlib.suppress(EndpointProblem):  # nobody waits for it
        await events.aclose()


async def _heard(work: Coroutine[Any, Any, Found], deadline: float, cancelled: Cancelled) -> Found:
    """The result of `work`; a cancel, or the end of the time (on `time.monotonic()`), ends it. Raises _Interrupted."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=_POLL_SECONDS))[0]:
            if (refusal := cancelled()) is not None:
                raise _Interrupted(refusal)
            if time.monotonic() > deadline:
                raise _Interrupted("budget")
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    return task.result()


def _log_odds(log_probability: float) -> float:
    probability = math.exp(log_probability)
    if probability >= 1:
        return _LOG_ODDS_AT_MOST
    found = log_probability - math.log1p(-probability)
    return min(_LOG_ODDS_AT_MOST, max(-_LOG_ODDS_AT_MOST, found))


def _is_same(asked: str, given: str) -> bool:
    """Whether a model's name means the one that was asked: servers add a version, or name its file alone."""
    return given.startswith(asked) or PurePath(given).name == PurePath(asked).name


def _result(
    generated: Generated, form: PromptForm, last: Piece, is_known: bool, wall: float, cpu: float
) -> CompletionResult:
    """Its joules are the server's own, where it reports them, and without a saving: there is nothing to compare them with."""
    interrupted = generated.reason in ("cancelled", "superseded")
    text = "" if interrupted else generated.text
    empty = not text.strip() and not interrupted and generated.reason not in ("no_context", "unlikely")
    joules = 0.0 if last.joules is None else last.joules
    return {
        "id": "",
        "text": "" if empty else text,
        "tokens": len(generated.tokens),
        "token_texts": [],
        "exits": [],
        "drafts": [],
        "passes": generated.passes,
        "layers_run": 0,
        "layers_total": 0,
        "prompt": form,
        "prompt_tokens": last.prompt_tokens or 0,
        "prompt_reused": 0,
        "prompt_layers_run": 0,
        "energy_joules": joules,
        "energy_full_joules": joules,
        "energy_source": UNKNOWN if last.joules is None else SERVER,
        "saving": 0.0,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "reason": "empty" if empty else generated.reason,
        "confidence": generated.confidence if text.strip() and is_known else 0.0,
        "alternatives": [],
    }
