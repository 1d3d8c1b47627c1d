"""Why No Suggestion?: a sentence and an action for every reason, and finer ones for what the front itself decides.

Commands are named as VS Code lists them; docs/protocol.md names them for other editors. The extension has the same table in its
languages (extension/l10n/texts.json, ids `why.CODE` and `why.CODE.action`); a test compares the English ones.
Must not know: where reasons come from.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from green_code.link.messages import CompletionParams, CompletionResult, Explanation, LastCompletion, TokenDepth


class Text(NamedTuple):
    """What happened, and what to do; the action is empty if nothing needs to be done. Both may have placeholders."""

    sentence: str
    action: str = ""


class Detail(NamedTuple):
    """A finer sentence than the reason's: its code in `TEXTS`, and what its placeholders stand for."""

    code: str
    values: dict[str, str]


class Asked(NamedTuple):
    """The last request: the URI of its document, and how long ago it was."""

    uri: str
    seconds_ago: float


NOTHING_YET: Final = "nothing_yet"

_BY_HAND: Final = "Ask for one by hand (Alt+\\ in VS Code)."
_BY_HAND_OR_EAGER: Final = "Ask for one by hand (Alt+\\ in VS Code), or set greenCode.suggestions to eager."
_ACCEPT: Final = "Accept it, and it goes on."
_DIAGNOSE: Final = "Run Green Code: Diagnose to see the fix."
_TYPED_ON: Final = Text("You typed on before the suggestion was ready.", "Pause for a moment.")

TEXTS: Final[dict[str, Text]] = {
    NOTHING_YET: Text(
        "Nothing was requested in this window yet.", "Type in a file that has suggestions (greenCode.languages)."
    ),
    # Why generation ended: there was a suggestion.
    "end_of_line": Text("The last request returned a suggestion."),
    "end_of_block": Text("The last request returned a suggestion, up to the end of its block or greenCode.maxLines."),
    "closing_bracket": Text("The last request returned a suggestion, up to a closing bracket of yours."),
    "repetition": Text("The last request returned a suggestion. It was cut where it began to repeat itself."),
    "suffix_reached": Text("The last request returned a suggestion, up to the text after the cursor."),
    "end_of_text": Text("The last request returned a suggestion, up to where the model ended it."),
    "unsure": Text("The last request returned a suggestion, as far as it is probably right.", _ACCEPT),
    "max_tokens": Text("The last request returned a suggestion of the greatest length.", _ACCEPT),
    "budget": Text(
        "The last request returned a suggestion, as far as the time allowed.",
        "For more speed, set greenCode.decoding to fast and lower greenCode.threshold.",
    ),
    # Why there is no text: the engine, or the front about its answer.
    "cancelled": _TYPED_ON,
    "superseded": _TYPED_ON,
    "empty": Text("The model had nothing to add here.", "Type a few more characters, or move the cursor."),
    "unlikely": Text("The suggestion would probably have been wrong.", _BY_HAND_OR_EAGER),
    "breaks_code": Text("The suggestion would have broken the code around the cursor."),
    "misplaced": Text("The suggestion does not belong at this indentation.", "Indent the line first."),
    "nonsense": Text("The suggestion was certainly wrong: it did not go with the text before the cursor."),
    "nothing_new": Text("The suggestion repeated what is there already."),
    "tab_indents": Text("On an empty line, Tab indents. The suggestion begins further to the right.", _BY_HAND),
    "dismissed": Text("You rejected this suggestion on this line.", _BY_HAND),
    "engine_starting": Text("The model is still loading.", "Try again in a moment."),
    "engine_lost": Text(
        "The engine ended unexpectedly; the next request restarts it.", "If it happens again, run Green Code: Diagnose."
    ),
    "engine_hanging": Text("The engine runs but does not answer.", "Run Green Code: Restart Engine."),
    "model_missing": Text("The model is not on this computer.", "Run Green Code: Choose Model."),
    "model_damaged": Text("The model's files are damaged.", _DIAGNOSE),
    "endpoint_failed": Text(
        "The server of greenCode.endpoint does not answer as it should.",
        "Check that server and greenCode.endpoint, or run Green Code: Set API Key.",
    ),
    "no_memory": Text(
        "There is not enough memory for the model.",
        "Close something, or run Green Code: Choose Model for a smaller one.",
    ),
    "bundle_invalid": Text("What Green Code adds to the model (its bundle) is invalid.", _DIAGNOSE),
    "cache_unwritable": Text(
        "Green Code cannot write to a folder that it needs.", "Free some disk space, or run Green Code: Diagnose."
    ),
    "other_version": Text("The engine has another version.", "Run Green Code: Restart Engine."),
    "bad_request": Text("The engine refused the request.", "Update green-code and the extension together."),
    "internal_error": Text(
        "Something in Green Code failed.",
        "Run Green Code: Show Log, and report the error with that log and the output Green Code Engine.",
    ),
    # Why the engine was not asked.
    "no_context": Text("There is no text before the cursor.", "Write a line or a comment first."),
    "filtered": Text("A setting or a rule prevents suggestions here.", "See the settings under greenCode."),
    "gated": Text("You would probably reject a suggestion here.", _BY_HAND_OR_EAGER),
    "hardly_taken": Text(
        "You would probably reject a suggestion here: {probability}% are accepted, {bound}% are needed "
        "(greenCode.suggestions is {stop}).",
        _BY_HAND_OR_EAGER,
    ),
    "disabled": Text("Suggestions are off (greenCode.enabled).", "Run Green Code: Turn Suggestions On or Off."),
    "not_open": Text("The editor has not opened this document for Green Code."),
    "other_language": Text("Suggestions are off for {language}.", "Add it to greenCode.languages."),
    "excluded_file": Text("This file is excluded by {glob} in greenCode.excludedFiles."),
    "on_request_only": Text("Suggestions come only on request (greenCode.trigger is manual).", _BY_HAND),
    "list_open": Text("The editor's own list of completions is open.", "Press Escape to close it."),
    "paused_on_battery": Text(
        "Suggestions pause while the computer runs on battery.",
        "Connect the power supply, or switch greenCode.pauseOnBattery off.",
    ),
    "binary_file": Text("This file is not text: it contains NUL characters."),
    "large_file": Text("This file is too large: {characters} characters, {limit} at most."),
    "long_line": Text("This line is too long: {characters} characters, {limit} at most."),
    "mid_word": Text("The cursor is inside a word.", "Move it to the end of the word."),
    "in_comment": Text(
        "The cursor is in a comment, where suggestions are off for {language}.",
        "Switch greenCode.completeInComments on.",
    ),
    "in_string": Text(
        "The cursor is in a string, where suggestions are off for {language}.", "Switch greenCode.completeInStrings on."
    ),
}

_SAYS_ALL: Final = ("cancelled", "superseded", "engine_starting")
"""Reasons whose sentence needs no detail."""


def explain(reason: str, detail: Detail | str, asked: Asked | None, last: LastCompletion | None) -> Explanation:
    """The answer to `greenCode/explain`. A `detail` that is a string is a failure's own message; empty: none."""
    code, values = detail if isinstance(detail, Detail) else (reason, {})
    text = TEXTS.get(code, TEXTS["internal_error"])
    message = text.sentence.format_map({key: _grouped(value) for key, value in values.items()})
    if isinstance(detail, str) and detail and reason not in _SAYS_ALL:
        message, values = detail, {"detail": detail}
    return Explanation(
        reason=reason,
        code=code,
        values=values,
        message=message,
        action=text.action,
        uri=asked.uri if asked else None,
        seconds_ago=asked.seconds_ago if asked else None,
        last=last,
    )


def _grouped(value: str) -> str:
    """A number with separators of thousands, as an editor shows it in its language."""
    return f"{int(value):,}" if value.isdecimal() else value


def last_completion(params: CompletionParams, result: CompletionResult) -> LastCompletion:
    """The last completion and the depth of each token."""
    return LastCompletion(
        text=result["text"],
        tokens=[
            TokenDepth(text=text, layers=layers, draft=draft)
            for text, layers, draft in zip(result["token_texts"], result["exits"], result["drafts"], strict=False)
        ],
        passes=result["passes"],
        layers_total=result["layers_total"],
        energy_joules=result["energy_joules"],
        energy_source=result["energy_source"],
        saving=result["saving"],
        threshold=params["threshold"],
        decoding=params["decoding"],
    )
