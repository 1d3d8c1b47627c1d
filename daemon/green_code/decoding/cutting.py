"""Where the text of a completion is cut that ended because it was unsure: nothing that is shown is half written."""

from __future__ import annotations

import re
from typing import Final

from green_code.decoding.stop_rules import Situation, first_open_bracket

SURE: Final = 0.8
"""Text is shown up to any place where all before is right with this probability."""
LEAST_SHOWN: Final = 3
"""Characters, without blanks around them; less is not worth showing."""
_WORD = re.compile(r"\w+\Z")
_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*(\\(?:N\{[^}]*)?)\Z")


def cut(text: str, refused: str, at: Situation, sure: int) -> str:
    """`text` without an identifier that `refused` goes on with, a string's escape or a bracket pair that are not complete.

    Args:
        refused: the text of the token at which the completion ended. sure: how many characters are right with a probability of
            `SURE`; these are kept.
    Returns:
        No text where less than `LEAST_SHOWN` characters would be left.
    """
    whole = text
    if re.match(r"\w", refused):
        text = _WORD.sub("", text)
    if escape := _ESCAPE.search(at.line + text):
        text = text[: max(0, escape.start(1) - len(at.line))]
    text = text[: first_open_bracket(text, at)]
    shown = whole[: max(len(text), sure)].rstrip()
    return shown if len(shown.strip()) >= LEAST_SHOWN else ""
