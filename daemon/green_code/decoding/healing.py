"""Token healing: the token that touches the cursor is taken back and generated anew.

A prompt that ends inside a word ends in a token that the model would hardly have chosen (`ret` for `return`). So that token is
removed from the prompt, and the first generated tokens must spell its bytes again, whatever they add.

A word that is a whole keyword is complete: nothing is taken back, and the completion may not go on with a word (`NO_WORD`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from green_code.bounded_cache import BoundedCache
from green_code.decoding.exit_policies import ExitView
from green_code.decoding.stop_rules import Situation
from green_code.models.backend import TopToken
from green_code.models.vocabulary import NO_WORD, Vocabulary

_MAX_SCORED = 1024
"""Scoring more tokens than this costs more than the top token of all by the SVD head."""
_ENTRY_BYTES = 400  # besides the tokens
_COMPATIBLE_BYTES = 16 << 20
"""Of the tokens that are held for the beginnings of words."""
_KEYWORD = re.compile(r"(?<![\w.$@#-])\w+\Z")
_LEAST_LETTERS = 4
_VALUES = frozenset(["None", "True", "False", "null", "nil", "true", "false", "this", "self", "super", "undefined"])
_IN_EXPRESSIONS = _VALUES | {"await", "async", "lambda", "typeof", "function", "range", "yield"}


def ends_keyword(at: Situation) -> bool:
    """Whether the word before the cursor is a whole keyword, which is not to be continued.

    Short ones begin many names (`in`: `int`, `is`: `isinstance`, `as`: `assert`, `for`: `format`). These count only where a name cannot
    stand: behind an operand, in languages in which no two names stand side by side. Others count where a statement or, for some, an
    expression begins, unless a longer keyword or a name in this file begins with them (`final`: `finally`, `pass`: `password`).
    """
    found, words = _KEYWORD.search(at.line), at.language.keywords
    if found is None or found.group() not in words or at.inside or re.match(r"\w", at.rest_of_line):
        return False
    word, before = found.group(), at.line[: found.start()].rstrip()
    last = re.search(r"(?<!\w)\w+\Z", before)
    is_behind_operand = before.endswith((")", "]", '"', "'")) if last is None else last.group() not in words - _VALUES
    if is_behind_operand and not at.language.adjacent_names:
        return True
    longer = any(other.startswith(word) for other in words - {word})
    if len(word) < _LEAST_LETTERS or longer or re.search(rf"\b{word}\w", at.above + at.line):
        return False
    begins_statement = not before or last is not None or before.endswith((";", "{", "}", ")", ":"))
    return begins_statement or word in _IN_EXPRESSIONS


def heal(tokens: Sequence[int], vocabulary: Spelled, is_whole: bool = False) -> tuple[list[int], bytes]:
    """The tokens that a prompt keeps, and the bytes that must be generated first.

    Nothing is taken back after a line break, where no word can go on, nor when the prompt is one token or none.

    Args:
        is_whole: the prompt ends with a word that must not be continued.
    """
    if is_whole:
        return list(tokens), NO_WORD
    last = vocabulary.token_bytes[tokens[-1]] if len(tokens) > 1 else b""
    if not last or last.endswith(b"\n"):
        return list(tokens), b""
    return list(tokens[:-1]), last


def spelled_again(required: bytes) -> int:
    """How many bytes of the first tokens are no part of the completion's text."""
    return 0 if required == NO_WORD else len(required)


class Spelled(Protocol):
    """The bytes of each token."""

    @property
    def token_bytes(self) -> _Bytes: ...


class _Bytes(Protocol):
    def __getitem__(self, token: int, /) -> bytes: ...


def _held_bytes(required: bytes, compatible: np.ndarray) -> int:
    return len(required) + compatible.nbytes + _ENTRY_BYTES


class Chooser:
    """Greedy choice among the tokens that agree with the required bytes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._compatible = BoundedCache(self._find_compatible, _held_bytes, _COMPATIBLE_BYTES)

    def choose(self, view: ExitView, required: bytes) -> TopToken:
        """The likeliest allowed token, with its log-odds among those that were scored."""
        if not required:
            return view.top
        allowed = self._compatible(required)
        if len(allowed) > _MAX_SCORED and self._vocabulary.is_compatible(view.top.token, required):
            return view.top  # the likeliest of all is the likeliest of these
        return view.top_among(allowed)

    def choose_other(self, view: ExitView, required: bytes, known: Sequence[int]) -> TopToken | None:
        """The likeliest allowed token besides the known ones; None: there is none."""
        allowed = self._compatible(required)
        others = allowed[~np.isin(allowed, known)]
        return view.top_among(others) if len(others) else None

    def _find_compatible(self, required: bytes) -> np.ndarray:
        """(K,) int32."""
        return np.array(self._vocabulary.tokens_compatible_with(required), np.int32)

    def left(self, required: bytes, token: int) -> bytes:
        """What is still required after `token`."""
        return required[len(self._vocabulary.token_bytes[token]) :]
