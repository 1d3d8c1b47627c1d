"""What servers answer, checked: their models, and the pieces of a completion.

OpenAI's legacy completions, as vLLM has them; llama-server's, whose log-probabilities have the form of OpenAI's chats; and
llama-server's own events of `/infill`. What a server adds to these is ignored. A fault is said without any of the server's text, which
may repeat the user's code.
Must not know: HTTP, or what becomes of a completion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeVar

from msgspec import Meta, Struct, field

from green_code.reading import Amount, decode

_LogProbability = Annotated[float, Meta(ge=-1e6, le=1e-3)]
"""Rounding may lead a little above zero."""
Content = TypeVar("Content")


class _Token(Struct):
    logprob: _LogProbability | None = None


class _LogProbabilities(Struct):
    token_logprobs: list[_LogProbability | None] | None = None
    content: list[_Token] | None = None


class _Choice(Struct):
    text: str
    logprobs: _LogProbabilities | None = None
    finish_reason: str | None = None


class _Joules(Struct):
    energy_joules: Amount | None = None
    prompt_tokens: Annotated[int, Meta(ge=0, le=1 << 30)] | None = None


class _Event(Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    content: str | None = None
    stop: bool = False
    stop_type: str | None = None
    completion_probabilities: list[_Token] = field(default_factory=list)
    usage: _Joules | None = None
    energy: _Joules | None = None
    error: object = None


class _ModelName(Struct):
    id: str


class _Models(Struct):
    data: list[_ModelName]


class _Tokens(Struct):
    tokens: list[object]


class Unusable(Exception):
    """An answer that is none; the message is the end of a sentence that the server's name begins."""


@dataclass(frozen=True)
class Piece:
    """A part of a completion: usually a token, or several at once.

    Args:
        log_probability: of all its tokens together; None: the server does not say. Where it has no text, of what the next piece completes.
        ended: whether the model ended the text here; None: more comes, or a limit ended it.
        model: who answers. joules, prompt_tokens: so far, where the server reports them.
    """

    text: str = ""
    log_probability: float | None = None
    ended: bool = False
    model: str | None = None
    joules: float | None = None
    prompt_tokens: int | None = None


def piece_of(content: bytes) -> Piece:
    """
    Raises:
        Unusable: it is no piece of a completion.
    """
    event = _read(content, _Event)
    if event.error is not None:
        raise Unusable("reports an error instead of a completion")
    text, tokens, ended = "", list[_LogProbability | None](), False
    if event.choices is not None:
        for choice in event.choices[:1]:  # none is a report of the usage
            text, ended = choice.text, choice.finish_reason == "stop"
            if (found := choice.logprobs) is not None:
                tokens = [*(found.token_logprobs or ()), *(token.logprob for token in found.content or ())]
    elif event.content is not None:
        text, ended = event.content, event.stop and event.stop_type != "limit"
        tokens = [token.logprob for token in event.completion_probabilities]
    else:
        raise Unusable("answers with something else than a completion")
    known = [min(0.0, each) for each in tokens if each is not None]
    reports = [report for report in (event.usage, event.energy) if report is not None]
    return Piece(
        text.encode("utf-8", "replace").decode(),
        sum(known) if known and len(known) == len(tokens) else None,
        ended,
        event.model,
        next((each.energy_joules for each in reports if each.energy_joules is not None), None),
        next((each.prompt_tokens for each in reports if each.prompt_tokens is not None), None),
    )


def models_of(content: bytes) -> list[str]:
    """The names of a server's models. Raises Unusable."""
    return [model.id for model in _read(content, _Models).data]


def token_count(content: bytes) -> int:
    """How many tokens a text has. Raises Unusable."""
    return len(_read(content, _Tokens).tokens)


def _read(content: bytes, kind: type[Content]) -> Content:
    try:
        return decode(content, kind)
    except ValueError as error:
        # Its own words name fields and types alone.
        raise Unusable(f"answers with something else than a completion ({error})") from None
