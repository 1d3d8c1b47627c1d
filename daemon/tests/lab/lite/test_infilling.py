"""Training windows in the form of fill-in-the-middle prompts, against the prompts that service makes."""

from __future__ import annotations

import numpy as np
import pytest

from green_code.models.fim import Fim
from green_code_lab.lite.infilling import Infilling

BREAK, MARKER = 10, 3
PLAIN = Fim(200, 201, 202)


def window(size: int = 257) -> np.ndarray:
    """Lines of eight tokens; every token but the breaks occurs once."""
    tokens = 1_000 + np.arange(size)
    tokens[7::8] = BREAK
    return tokens


def infilling(fim: Fim) -> Infilling:
    ends = np.zeros(2_000, bool)
    ends[BREAK] = True
    return Infilling(fim, ends, MARKER)


@pytest.mark.parametrize("place", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("fim", [PLAIN, Fim(200, 201, 202, suffix_first=True), Fim(200, 201, None, suffix_first=True)])
def test_the_cursors_line_stands_last(fim: Fim, place: float) -> None:
    original = window()
    found = infilling(fim).lay_out(original, place)
    assert len(found) == len(original) and found[0] == original[0]
    special = {name: int(np.flatnonzero(found == i)[0]) for name, i in (("prefix", 200), ("suffix", 201))}
    end = int(np.flatnonzero(found == 202)[0]) if fim.middle is not None else None
    if fim.suffix_first:
        suffix = found[special["suffix"] + 1 : special["prefix"]]
        rest = found[special["prefix"] + 1 :]
        prefix, middle = (rest, rest[:0]) if end is None else (rest[: end - special["prefix"] - 1], found[end + 1 :])
    else:
        prefix, suffix = found[special["prefix"] + 1 : special["suffix"]], found[special["suffix"] + 1 : end]
        middle = found[end + 1 :]
    text = np.concatenate([prefix, middle, suffix])
    assert text.tolist() == original[1 : len(text) + 1].tolist(), "in the document's order, whole"
    assert 60 <= len(suffix) <= 96
    if end is not None:
        assert prefix[-1] == BREAK, "the prefix ends with a line"
        assert len(middle) >= 32


def test_a_window_over_two_documents_or_without_lines_stays() -> None:
    two, one_line = window(), np.arange(1_000, 1_257)
    two[100] = MARKER
    for tokens in (two, one_line):
        assert infilling(PLAIN).lay_out(tokens, 0.5) is tokens
