"""Guards: the checks before a request goes to the engine. One function each; `GUARDS` has their order.

A guard returns None to let a request pass, or a reason with a code and values for Why No Suggestion?. There is no guard for a
selection, because LSP's inline completion carries a position only.
Must not know: the engine, prompts, or how a reason is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from green_code.globs import matching_glob
from green_code.lexical import is_word
from green_code.link.messages import Refusal
from green_code.lsp.syntax import Kind
from green_code.settings import Settings

FILE_CHARACTERS_AT_MOST: Final = 2_000_000
LINE_CHARACTERS_AT_MOST: Final = 10_000


@dataclass(frozen=True)
class Situation:
    """What the guards check. `before` and `after` are the cursor's line, without its end.

    `settings` are those of the document's language; a call of `inside` costs some milliseconds.
    """

    settings: Settings
    language: str
    path: str
    workspace_folders: Sequence[str]
    automatic: bool
    list_open: bool  # the editor shows its own list of completions, with an entry behind which nothing can be suggested
    before: str
    after: str
    characters: int
    nul_characters: int
    on_battery: Callable[[], bool]
    inside: Callable[[], Kind | None]


@dataclass(frozen=True)
class Refused:
    """Why a request does not reach the engine. `code` is a sentence of `explain.TEXTS`, `values` its placeholders."""

    reason: Refusal
    code: str
    values: dict[str, str] = field(default_factory=dict)


Guard = Callable[[Situation], "Refused | None"]


def is_disabled(now: Situation) -> Refused | None:
    """The user switched completions off."""
    if now.settings.enabled:
        return None
    return Refused("disabled", "disabled")


def is_other_language(now: Situation) -> Refused | None:
    """The document's language is not among the chosen ones."""
    if now.language in now.settings.languages:
        return None
    return Refused("filtered", "other_language", {"language": now.language})


def is_excluded_file(now: Situation) -> Refused | None:
    """The user excluded the document."""
    glob = matching_glob(now.settings.excluded_files, now.path, now.workspace_folders)
    if glob is None:
        return None
    return Refused("filtered", "excluded_file", {"glob": glob})


def is_automatic(now: Situation) -> Refused | None:
    """The editor sent the request by itself, and the user wants completions on request only."""
    if now.settings.trigger == "manual" and now.automatic:
        return Refused("filtered", "on_request_only")
    return None


def is_list_open(now: Situation) -> Refused | None:
    """The editor's list of completions is open and would hide a suggestion."""
    if now.list_open and now.automatic:
        return Refused("filtered", "list_open")
    return None


def is_on_battery(now: Situation) -> Refused | None:
    """The user wants to save the battery."""
    if now.settings.pause_on_battery and now.on_battery():
        return Refused("paused_on_battery", "paused_on_battery")
    return None


def is_binary(now: Situation) -> Refused | None:
    """The document is not text."""
    if not now.nul_characters:
        return None
    return Refused("filtered", "binary_file")


def is_too_large(now: Situation) -> Refused | None:
    """The document is too large to be source code written by hand."""
    if now.characters <= FILE_CHARACTERS_AT_MOST:
        return None
    return Refused("filtered", "large_file", _too_many(now.characters, FILE_CHARACTERS_AT_MOST))


def is_long_line(now: Situation) -> Refused | None:
    """The cursor's line is too long to be written by hand."""
    length = len(now.before) + len(now.after)
    if length <= LINE_CHARACTERS_AT_MOST:
        return None
    return Refused("filtered", "long_line", _too_many(length, LINE_CHARACTERS_AT_MOST))


def is_mid_word(now: Situation) -> Refused | None:
    """The cursor is inside a word: an insertion would break it."""
    if is_word(now.before[-1:]) and is_word(now.after[:1]):
        return Refused("filtered", "mid_word")
    return None


def is_in_comment_or_string(now: Situation) -> Refused | None:
    """The user wants no completions in comments, or none in strings."""
    comments, strings = now.settings.complete_in_comments, now.settings.complete_in_strings
    kind = None if comments and strings else now.inside()
    if kind == "comment" and not comments:
        return Refused("in_comment", "in_comment", {"language": now.language})
    if kind == "string" and not strings:
        return Refused("in_string", "in_string", {"language": now.language})
    return None


def _too_many(characters: int, limit: int) -> dict[str, str]:
    return {"characters": str(characters), "limit": str(limit)}


GUARDS: Final[tuple[Guard, ...]] = (
    is_disabled,
    is_excluded_file,  # first: `.env.py` is private whatever its language is
    is_other_language,
    is_automatic,
    is_list_open,
    is_on_battery,
    is_binary,
    is_too_large,
    is_long_line,
    is_mid_word,
    is_in_comment_or_string,
)


def first_refusal(now: Situation) -> Refused | None:
    """The first guard's answer that is not None."""
    for guard in GUARDS:
        if (refused := guard(now)) is not None:
            return refused
    return None
