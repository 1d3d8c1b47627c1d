"""Why No Suggestion?: a sentence and an action for every reason.

A guard's or the engine's own message replaces the sentence. Commands are named as VS Code lists them; docs/protocol.md
names them for other editors.
Must not know: where reasons come from.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from green_code.link.messages import CompletionParams, CompletionResult, Explanation, LastCompletion, TokenDepth


class Text(NamedTuple):
    """What happened, and what to do; the action is empty if nothing needs to be done."""

    sentence: str
    action: str


NOTHING_YET: Final = "nothing_yet"

_BY_HAND: Final = "Invoke a suggestion by hand (Alt+\\ in VS Code), or set greenCode.suggestions to eager."

TEXTS: Final[dict[str, Text]] = {
    NOTHING_YET: Text("There was no request in this window yet.", "Type in a file of greenCode.languages."),
    # Why generation ended: there was a completion.
    "end_of_line": Text("The completion ended with its line.", ""),
    "end_of_block": Text("The completion ended with its block or at greenCode.maxLines.", ""),
    "closing_bracket": Text("The completion ended before a bracket that closes one outside it.", ""),
    "repetition": Text("The model repeated itself and was stopped.", "Type a little more and try again."),
    "suffix_reached": Text("The completion ended where the text after the cursor begins.", ""),
    "end_of_text": Text("The completion ended where the model ended the file.", ""),
    "unsure": Text(
        "The completion ended where what follows is too unlikely to be right.", "Accept it, and it goes on."
    ),
    "max_tokens": Text("The completion reached its token limit.", "Accept it, and it goes on."),
    "budget": Text(
        "The completion reached its time limit.",
        "For more speed, set greenCode.decoding to fast and lower greenCode.threshold.",
    ),
    # Why there is no text.
    "cancelled": Text("The editor cancelled the request because you typed on.", "Pause for a moment."),
    "superseded": Text("A newer request replaced this one because you typed on.", "Pause for a moment."),
    "empty": Text("The model had nothing to add here.", "Type a few more characters, or move the cursor."),
    "unlikely": Text("What the model had to add here is too unlikely to be right.", _BY_HAND),
    "gated": Text("A suggestion here would hardly be taken, so none was made.", _BY_HAND),
    "breaks_code": Text("What the model had to add here would break the code around the cursor.", ""),
    "dismissed": Text(
        "You have rejected this suggestion on this line.", "Invoke a suggestion by hand (Alt+\\ in VS Code)."
    ),
    "no_context": Text("There is no text before the cursor.", "Write a line or a comment first."),
    "filtered": Text("A setting or a rule prevents suggestions here.", "See the settings under greenCode."),
    "in_comment": Text("The cursor is inside a comment.", "Switch greenCode.completeInComments on."),
    "in_string": Text("The cursor is inside a string.", "Switch greenCode.completeInStrings on."),
    "paused_on_battery": Text(
        "Completions are paused while the machine runs on battery.",
        "Connect the power supply, or switch greenCode.pauseOnBattery off.",
    ),
    "disabled": Text("Green Code is switched off.", "Run the command Green Code: Toggle."),
    "engine_starting": Text("The engine starts or loads the model.", "Wait until the status is ready."),
    "engine_lost": Text(
        "The engine ended unexpectedly; the next request restarts it.", "If it happens again, run Green Code: Diagnose."
    ),
    "engine_hanging": Text("The engine runs but does not answer.", "Run Green Code: Restart Engine."),
    "model_missing": Text("The model is not on this machine.", "Run Green Code: Diagnose to see the fix."),
    "model_damaged": Text("The model's files are damaged.", "Run Green Code: Diagnose to see the fix."),
    "bundle_invalid": Text("The model's bundle is invalid.", "Run Green Code: Diagnose, or reinstall it."),
    "cache_unwritable": Text(
        "Green Code cannot write to a folder that it needs.", "Free some disk space, or run Green Code: Diagnose."
    ),
    "other_version": Text("The engine has another version.", "Run Green Code: Restart Engine."),
    "bad_request": Text("The engine refused the request.", "Update green-code and the extension together."),
    "internal_error": Text(
        "Something in Green Code failed.",
        "Run Green Code: Show Log, and report the error with that log and the output Green Code Server.",
    ),
}


def explain(reason: str, detail: str, last: LastCompletion | None) -> Explanation:
    """The answer to `greenCode/explain`."""
    text = TEXTS.get(reason, TEXTS["internal_error"])
    return Explanation(
        reason=reason, code=reason, values={}, message=detail or text.sentence, action=text.action, last=last
    )


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
