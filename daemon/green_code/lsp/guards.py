"""Guards: the reasons not to ask the engine at all. One function each; their order is on one screen below.

A guard returns None to let a request pass, or the reason and a sentence for Why No Suggestion?. (An editor's
selection is not among them: LSP's inline completion carries a position only.)
Must not know: the engine, prompts, or how a reason is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from green_code.globs import matching_glob
from green_code.link.messages import Refusal
from green_code.lsp.syntax import Kind
from green_code.settings import Settings

FILE_CHARACTERS_AT_MOST: Final = 2_000_000
LINE_CHARACTERS_AT_MOST: Final = 10_000


@dataclass(frozen=True)
class Situation:
    """What the guards look at. `before` and `after` are the cursor's line, without its end.

    `settings` are those of the document's language; `inside` says what the cursor is in, and costs some milliseconds.
    """

    settings: Settings
    language: str
    path: str
    workspace_folders: Sequence[str]
    automatic: bool
    list_open: bool  # the editor's own list of completions, with an entry selected
    before: str
    after: str
    characters: int
    nul_characters: int
    on_battery: Callable[[], bool]
    inside: Callable[[], Kind | None]


@dataclass(frozen=True)
class Refused:
    """Why a request goes no further."""

    reason: Refusal
    message: str


Guard = Callable[[Situation], "Refused | None"]


def is_disabled(now: Situation) -> Refused | None:
    """The user switched completions off."""
    return (
        None
        if now.settings.enabled
        else Refused("disabled", "Green Code is switched off (greenCode.enabled).")
    )


def is_other_language(now: Situation) -> Refused | None:
    """The document's language is not among the chosen ones."""
    if now.language in now.settings.languages:
        return None
    chosen = ", ".join(now.settings.languages) or "none"
    return Refused("filtered", f"The language {now.language} is not among greenCode.languages ({chosen}).")


def is_excluded_file(now: Situation) -> Refused | None:
    """The document is one that must not be read."""
    glob = matching_glob(now.settings.excluded_files, now.path, now.workspace_folders)
    return (
        None
        if glob is None
        else Refused("filtered", f"The file is excluded by {glob} (greenCode.excludedFiles).")
    )


def is_unasked(now: Situation) -> Refused | None:
    """The user wants completions only when asking for them."""
    if now.settings.trigger == "manual" and now.automatic:
        return Refused("filtered", "Completions come only when asked for (greenCode.trigger is manual).")
    return None


def is_behind_a_list(now: Situation) -> Refused | None:
    """The editor's list of completions is open: it would hide a suggestion, or the two would argue."""
    if now.list_open and now.automatic:
        return Refused("filtered", "The editor's own list of completions is open; press Escape to close it.")
    return None


def is_on_battery(now: Situation) -> Refused | None:
    """The user wants to save the battery."""
    if now.settings.pause_on_battery and now.on_battery():
        return Refused(
            "paused_on_battery", "Paused, because the machine runs on battery (greenCode.pauseOnBattery)."
        )
    return None


def is_binary(now: Situation) -> Refused | None:
    """The document is no text."""
    return (
        Refused("filtered", "The file holds NUL characters, so it is not text.")
        if now.nul_characters
        else None
    )


def is_too_large(now: Situation) -> Refused | None:
    """The document is too large to be source that someone edits."""
    if now.characters <= FILE_CHARACTERS_AT_MOST:
        return None
    return Refused(
        "filtered", f"The file has {now.characters:,} characters; the limit is {FILE_CHARACTERS_AT_MOST:,}."
    )


def is_long_line(now: Situation) -> Refused | None:
    """The cursor's line is generated or minified."""
    length = len(now.before) + len(now.after)
    if length <= LINE_CHARACTERS_AT_MOST:
        return None
    return Refused(
        "filtered", f"The line has {length:,} characters; the limit is {LINE_CHARACTERS_AT_MOST:,}."
    )


def is_mid_word(now: Situation) -> Refused | None:
    """The cursor is inside a word: an insertion would break it."""
    if _is_word(now.before[-1:]) and _is_word(now.after[:1]):
        return Refused("filtered", "The cursor is inside a word.")
    return None


def is_in_comment_or_string(now: Situation) -> Refused | None:
    """The user wants no completions there."""
    comments, strings = now.settings.complete_in_comments, now.settings.complete_in_strings
    kind = None if comments and strings else now.inside()
    if kind == "comment" and not comments:
        return Refused("in_comment", _switched_off(now, "comment", "completeInComments"))
    if kind == "string" and not strings:
        return Refused("in_string", _switched_off(now, "string", "completeInStrings"))
    return None


def _switched_off(now: Situation, place: str, setting: str) -> str:
    return f"The cursor is inside a {place}, where greenCode.{setting} is off for {now.language}."


def _is_word(character: str) -> bool:
    return character == "_" or character.isalnum()


GUARDS: Final[tuple[Guard, ...]] = (
    is_disabled,
    is_other_language,
    is_excluded_file,
    is_unasked,
    is_behind_a_list,
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
