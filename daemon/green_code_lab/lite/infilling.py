"""Training windows in the form of prompts that fill in the middle, for models that are served with such prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from green_code.engine.prompts import SUFFIX_TOKENS, PromptLayout
from green_code.models.fim import Fim
from green_code.models.vocabulary import Vocabulary
from green_code_lab.corpus.shards import document_marker

_LEAST = 32  # tokens before the cursor's line, and of that line and those that follow it


@dataclass(frozen=True)
class Infilling:
    """
    Attributes:
        line_ends: (V,) whether a token ends with a line break. marker: the token before each document.
    """

    fim: Fim
    line_ends: np.ndarray
    marker: int

    def lay_out(self, window: np.ndarray, place: float) -> np.ndarray:
        """The window (N,) as a prompt and its continuation, as service sends it (`engine/prompts.py`); (N,), its last tokens dropped.

        Token 0 stays first. `place` (0 … 1): of the cursor's line. A window of two documents, or without lines, stays as it is.
        """
        own = len(window) - (2 if self.fim.middle is None else 3)
        behind = own - min(SUFFIX_TOKENS, own // 4)
        lines = _LEAST + np.flatnonzero(self.line_ends[window[_LEAST - 1 : behind - _LEAST]])
        if not len(lines) or (window[1:own] == self.marker).any():
            return window
        cursor = int(lines[int(place * len(lines))])
        prompt = self.fim.prompt(window[1:cursor].tolist(), window[behind:own].tolist())
        return np.array([window[0], *prompt, *window[cursor:behind]], window.dtype)


def infilling_of(layout: PromptLayout, vocabulary: Vocabulary) -> Infilling | None:
    """None where service sends only what is before the cursor."""
    if layout.form != "fim" or layout.fim is None:
        return None
    ends = np.array([text.endswith(b"\n") for text in vocabulary.token_bytes])
    return Infilling(layout.fim, ends, document_marker(vocabulary))
