"""Why No Suggestion?: a sentence and an action for every reason there is.

A reason's own message (a guard's, an engine's) takes the sentence's place when there is one. Commands are
named as VS Code lists them; docs/protocol.md says what they are elsewhere.
Must not know: where reasons come from.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from green_code.link.messages import (
    CompletionParams,
    CompletionResult,
    Explanation,
    LastCompletion,
    TokenDepth,
)


class Text(NamedTuple):
    """What happened, and what to do about it; the action is empty when nothing need be done."""

    sentence: str
    action: str


NOTHING_YET: Final = "nothing_yet"

TEXTS: Final[dict[str, Text]] = {
    NOTHING_YET: Text(
        "No completion has been asked for yet in this window.", "Type in a document of a chosen language."
    ),
    # Why generation ended: there was a completion.
    "end_of_line": Text("A completion was given; it ended with its line.", ""),
    "end_of_block": Text("A completion was given; it ended with its block or at greenCode.maxLines.", ""),
    "closing_bracket": Text(
        "A completion was given; it ended where a bracket closes that it had not opened.", ""
    ),
    "repetition": Text(
        "The model began to repeat itself and was stopped.", "Type a little more and try again."
    ),
    "suffix_reached": Text("A completion was given; it ended where the text after the cursor begins.", ""),
    "end_of_text": Text("A completion was given; the model regards the file as complete after it.", ""),
    "max_tokens": Text(
        "A completion was given; it ended at the limit of tokens.",
        "Raise greenCode.maxLines for longer ones, up to 8 lines.",
    ),
    "budget": Text(
        "A completion was given; it ended when its time was used up.",
        "Set greenCode.decoding to fast, and there lower greenCode.threshold, for speed.",
    ),
    # Why there is no text.
    "cancelled": Text(
        "The editor cancelled the request, as it does when you type on.", "Pause for a moment."
    ),
    "superseded": Text("A newer request took this one's place, because you typed on.", "Pause for a moment."),
    "empty": Text(
        "The model had nothing to add here.", "Type a few more characters, or place the cursor elsewhere."
    ),
    "no_context": Text("There is no text before the cursor to go by.", "Write a line or a comment first."),
    "filtered": Text("A rule decided not to suggest anything here.", "See the settings under greenCode."),
    "in_comment": Text(
        "The cursor is inside a comment.", "Switch greenCode.completeInComments on to have suggestions there."
    ),
    "in_string": Text(
        "The cursor is inside a string.", "Switch greenCode.completeInStrings on to have suggestions there."
    ),
    "paused_on_battery": Text(
        "Completions are paused while the machine runs on battery.",
        "Plug it in, or switch greenCode.pauseOnBattery off.",
    ),
    "disabled": Text("Green Code is switched off.", "Run the command Green Code: Toggle."),
    "engine_starting": Text(
        "The engine is starting or the model is loading.", "Wait until the status bar stops spinning."
    ),
    "engine_lost": Text(
        "The engine ended unexpectedly; it is restarted at the next request.",
        "If it happens again, run Green Code: Diagnose.",
    ),
    "engine_hanging": Text("The engine runs, but does not answer.", "Run Green Code: Restart Engine."),
    "model_missing": Text(
        "The model is not on this machine.", "Run Green Code: Diagnose, which says how to get it."
    ),
    "model_damaged": Text(
        "The model's files are damaged.", "Run Green Code: Diagnose, which says how to replace them."
    ),
    "bundle_invalid": Text(
        "The bundle of this model failed its checks.", "Run Green Code: Diagnose, or reinstall it."
    ),
    "cache_unwritable": Text(
        "A folder that Green Code needs cannot be written.",
        "Free some disk space, or run Green Code: Diagnose.",
    ),
    "other_version": Text(
        "The engine is of another version than this window.", "Run Green Code: Restart Engine."
    ),
    "bad_request": Text(
        "The engine did not understand the request.", "Update green-code and the extension together."
    ),
    "internal_error": Text(
        "Something in Green Code failed.",
        "Run Green Code: Show Log, look into the output Green Code Server beside it, and report what they say.",
    ),
}


def explain(reason: str, detail: str, last: LastCompletion | None) -> Explanation:
    """The answer to `greenCode/explain`."""
    text = TEXTS.get(reason, TEXTS["internal_error"])
    return Explanation(reason=reason, message=detail or text.sentence, action=text.action, last=last)


def last_completion(params: CompletionParams, result: CompletionResult) -> LastCompletion:
    """The last completion, token by token."""
    return LastCompletion(
        text=result["text"],
        tokens=[
            TokenDepth(text=text, layers=layers)
            for text, layers in zip(result["token_texts"], result["exits"], strict=False)
        ],
        layers_total=result["layers_total"],
        energy_joules=result["energy_joules"],
        energy_source=result["energy_source"],
        saving=result["saving"],
        threshold=params["threshold"],
        decoding=params["decoding"],
    )
