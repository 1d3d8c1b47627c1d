"""Prompts: from the text around the cursor, and lines of other files, to the tokens that a model reads.

A prompt of the form `prefix` is the text before the cursor. One of the form `fim` (fill-in-the-middle, Bavarian et al., arXiv
2207.14255) also has the text behind it:

    [start] [lines of other files] PREFIX lines above the cursor's SUFFIX text behind the cursor MIDDLE the cursor's line up to it

The cursor's own line stands last, so typing within it only appends to the KV cache. For the same reason the text behind the cursor
is cut at whole lines near it, and leaves out what editors type by themselves; what changes further down changes no token.
Must not know: caches, exits, or how a prompt is continued.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

from green_code.decoding.healing import Spelled, ends_keyword, heal
from green_code.decoding.stop_rules import Situation
from green_code.link.messages import CompletionParams, PromptForm, Snippet
from green_code.models.fim import Fim

SUFFIX_TOKENS = 96
"""Of the text behind the cursor at most."""
_SHARE = 4  # the text behind the cursor, and lines of other files, get at most one part in this many
_CHARACTERS = 16  # a token has hardly more, on average over a line
_PATH_CHARACTERS = 200  # of a file's path, the last ones
_CLOSED = re.compile(r"[)\]}\"'`]*[ \t]*\Z")
"""A rest of the line that the editor has closed by itself while somebody types."""
_INSTRUCTED = re.compile(r"(?:\A|[-_.])(?:instruct|chat|it)(?:[-_.]|\Z)", re.IGNORECASE)
_REPOSITORY = "repository"  # whatever the user's is called
_FILE = "file"


@dataclass(frozen=True)
class PromptLayout:
    """How a model's prompts are laid out. `fim`: the tokenizer's format, where it has one; without it, all are of the form `prefix`."""

    form: PromptForm
    fim: Fim | None
    suffix_tokens: int = SUFFIX_TOKENS

    @property
    def reads_snippets(self) -> bool:
        """Whether the model knows a token that stands before a file."""
        return self.fim is not None and self.fim.file is not None


def layout_of(model: str, fim: Fim | None, measured: PromptForm | None) -> PromptLayout:
    """The layout of a model by its name or path. Without a measurement, a model that was tuned to follow instructions gets no `fim`.

    Args:
        measured: the form with more accepted characters a joule; None: unknown.
    """
    guessed: PromptForm = "prefix" if fim is None or _INSTRUCTED.search(PurePath(model).name) else "fim"
    return PromptLayout("prefix" if fim is None else measured or guessed, fim)


@dataclass(frozen=True)
class Prompt:
    """Tokens that a model reads, and the bytes that its first tokens must spell (token healing).

    `text` are the tokens in the order of the document, up to the same place, without those that only lay the prompt out; `earlier`
    those before `text`, which the window cut off.
    """

    form: PromptForm
    tokens: list[int]
    required: bytes
    text: list[int]
    earlier: list[int]


class Encoding(Spelled, Protocol):
    """What a prompt needs of a vocabulary."""

    @property
    def bos(self) -> int | None: ...

    def encode(self, text: str) -> list[int]: ...


def prompt_of(
    params: CompletionParams, situation: Situation, vocabulary: Encoding, layout: PromptLayout, positions: int
) -> Prompt:
    """
    Args:
        situation: the same cursor. positions: those that the model has; a prompt takes at most half of them.
    """
    limit, fim = min(params["max_prompt_tokens"], positions // 2), layout.fim
    share, start = limit // _SHARE, [] if vocabulary.bos is None else [vocabulary.bos]
    form: PromptForm = "prefix"
    files, path, suffix = list[int](), list[int](), list[int]()
    if fim is not None and layout.reads_snippets and params["snippets"]:
        path = vocabulary.encode(f"{params['path'][-_PATH_CHARACTERS:] or _FILE}\n")
        files = list(_files(params["snippets"], vocabulary, fim, share - len(path)))
        path, limit = (path, limit - share) if files else ([], limit)
    if fim is not None and layout.form == "fim":
        most = min(layout.suffix_tokens, share)
        if suffix := _suffix(params["suffix"], vocabulary, most):
            form, limit = "fim", limit - most
    before = params["prefix"]
    line = before.rfind("\n") + 1 if form == "fim" else 0  # a line's tokens may have the line break before it
    own = vocabulary.encode(before[line:])
    read = [*vocabulary.encode(before[:line]), *own]
    cut = _cut(read, limit, vocabulary)
    earlier, window = read[:cut], read[cut:]
    tokens = [*start, *files, *path, *window]
    if fim is not None and form == "fim":
        place = max(0, len(window) - len(own))
        outside, inside = ([], path) if fim.path_in_prefix else (path, [])
        middle = fim.prompt([*inside, *window[:place]], suffix)
        tokens = [*start, *files, *outside, *middle, *window[place:]]
    healed, required = heal(tokens, vocabulary, ends_keyword(situation))
    text = [*start, *window]
    return Prompt(form, healed, required, text[: len(text) - (len(tokens) - len(healed))], earlier)


def _files(snippets: Sequence[Snippet], vocabulary: Encoding, fim: Fim, limit: int) -> Iterator[int]:
    """Lines of other files in the format's own form, and what stands before the name of the file itself: at most `limit` tokens.

    Whole snippets are left out, the least similar first.
    """
    assert fim.file is not None
    named = [] if fim.repository is None else [fim.repository, *vocabulary.encode(f"{_REPOSITORY}\n")]
    kept, left = list[list[int]](), limit - len(named) - 1
    for snippet in reversed(snippets):
        text = f"{snippet['path']}\n{snippet['text']}\n"
        if len(text) > _CHARACTERS * max(0, left):
            continue  # not even encoded
        tokens = [fim.file, *vocabulary.encode(text)]
        if len(tokens) <= left:
            left -= len(tokens)
            kept.append(tokens)
    if kept:
        yield from named
        for tokens in reversed(kept):
            yield from tokens
        yield fim.file


def _suffix(suffix: str, vocabulary: Encoding, limit: int) -> list[int]:
    """Tokens of the rest of the cursor's line and of as many whole lines behind it as `limit` has room for; none if these are blank."""
    rest, *lines = suffix[: _CHARACTERS * limit].split("\n")
    if lines and len(suffix) > _CHARACTERS * limit:
        lines.pop()  # not whole
    text = "" if _CLOSED.match(rest) else rest
    left = limit - len(vocabulary.encode(text))
    for line in lines:
        left -= len(vocabulary.encode(f"\n{line}"))
        if left < 0:
            break
        text += f"\n{line}"
    return vocabulary.encode(text)[:limit] if text.strip() else []


def _cut(tokens: Sequence[int], limit: int, vocabulary: Spelled) -> int:
    """Where the window of at most `limit` tokens begins, at a line if there is one near.

    It moves in steps of half a window, so that typing does not shift it.
    """
    if len(tokens) <= limit:
        return 0
    step = max(1, limit // 2)
    start = -(-(len(tokens) - limit) // step) * step
    places = range(start, min(start + step // 2, len(tokens) - 1))
    return next((i + 1 for i in places if vocabulary.token_bytes[tokens[i]].endswith(b"\n")), start)
