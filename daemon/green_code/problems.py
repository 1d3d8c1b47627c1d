"""The one exception that is meant for people: a cause, and what to do about it.

Raised wherever input, a model, a bundle or the machine is not as needed. `reason` is a code of
`link.messages.Refusal`; the text is one line that names the cause and the fix. Anything else that escapes is a bug.
"""

from __future__ import annotations


class Problem(Exception):
    """A failure with a reason code and a sentence for the user.

    Args:
        reason: code, one of `link.messages.Refusal`.
        message: what failed, what was found, what to do next.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def too_large(model: str) -> Problem:
    """A model that does not fit into what memory is free."""
    return Problem(
        "internal_error",
        f"There is not enough memory to load {model}. Close something, or select a smaller model.",
    )
