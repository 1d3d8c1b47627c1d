"""Rules that end a suggestion, and what each shows on records.

Every rule is an estimate, (M,), of the probability that all text up to a token is right: the running product of the tokens'
probabilities, the least of them, their mean, a learned one, or the truth (oracle). A policy compares it with a bound.
"""

from __future__ import annotations

import numpy as np

from green_code.decoding.cutting import SURE, cut, finished_line
from green_code.decoding.stop_rules import RULES, line_end
from green_code.decoding.stopping import SURE_LINE
from green_code_lab.replay.environment import Replayer, Shown
from green_code_lab.replay.records import REASONS, Records

_OPEN_ENDED = frozenset(REASONS.index(name) for name in ("floor", "line_floor"))
_BY_RULE = frozenset(REASONS.index(name) for name, _ in RULES)
_END_OF_TEXT = REASONS.index("end_of_text")


def probabilities(records: Records) -> np.ndarray:
    """(M,) of the chosen tokens."""
    return np.asarray(1 / (1 + np.exp(-records.log_odds.astype(np.float64))))


def counted(records: Records) -> np.ndarray:
    """(M,) whether the token adds text; others only spell again what token healing took back."""
    return records.characters > 0


def running(records: Records, ufunc: np.ufunc, values: np.ndarray) -> np.ndarray:
    """(M,) `ufunc` accumulated within each request."""
    found = np.empty(len(values))
    for start, end in zip(records.starts[:-1].tolist(), records.starts[1:].tolist(), strict=True):
        ufunc.accumulate(values[start:end], out=found[start:end])
    return found


def running_product(records: Records) -> np.ndarray:
    return running(records, np.multiply, np.where(counted(records), probabilities(records), 1.0))


def least_probability(records: Records) -> np.ndarray:
    return running(records, np.minimum, np.where(counted(records), probabilities(records), 1.0))


def mean_probability(records: Records) -> np.ndarray:
    weights = counted(records).astype(np.float64)
    total = running(records, np.add, np.where(counted(records), probabilities(records), 0.0))
    return np.where(weights > 0, total / np.maximum(running(records, np.add, weights), 1.0), 1.0)


def shown_by(replayer: Replayer, estimate: np.ndarray, stop: float) -> Shown:
    """What is shown where `estimate` (M,) must stay at `stop` or above, as `decoding/generate.py` does it in service."""
    count = len(replayer.records)
    texts, passes, right = [""] * count, np.zeros(count, np.int32), np.zeros(count, bool)
    for i in range(count):
        texts[i], passes[i] = _suggestion(replayer, i, estimate, stop)
        right[i] = bool(texts[i]) and len(texts[i]) <= replayer.agreed_characters[i]
    return Shown(texts, passes, right)


def _suggestion(replayer: Replayer, i: int, estimate: np.ndarray, stop: float) -> tuple[str, int]:
    """The text of a request, and its forward passes."""
    records, text, situation = replayer.records, replayer.texts[i], replayer.situations[i]
    start, end = int(records.starts[i]), int(records.starts[i + 1])
    shown = sure = 0
    for j in range(start, end):
        characters = int(records.characters[j])
        if characters and estimate[j] < stop:
            return cut(text[:shown], text[shown:characters], situation, sure), j - start + 1
        if estimate[j] >= SURE:
            sure = characters
        last = j == end - 1
        if last and int(records.reasons[i]) in _BY_RULE:
            break
        if estimate[j] < SURE_LINE and (line := line_end(text[:characters], situation, shown)) is not None:
            return _worth(finished_line(text[:line], situation)), j - start + 1
        shown = characters
    if int(records.reasons[i]) in _OPEN_ENDED:
        return cut(text[:shown], "", situation, sure), end - start  # the next token is not known
    return _worth(text[: int(records.final_characters[i])]), end - start + (int(records.reasons[i]) == _END_OF_TEXT)


def _worth(text: str) -> str:
    return text if text.strip() else ""
