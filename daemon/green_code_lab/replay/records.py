"""What the model would suggest at each cursor position of a span: greedy continuations at full depth, token by token.

In `full` and `exact` a suggestion depends on the text alone, so that any policy over stops can be replayed from these
records. A continuation goes on until the running product of its probabilities is below `FLOOR` or a stop rule ends it, and over a line's
end only while that product is at least `LINE_FLOOR`: no policy that is replayed goes further.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from green_code.problems import Problem
from green_code_lab.replay.spans import Span

FLOOR, LINE_FLOOR = 0.05, 0.4
MAX_LINES, MAX_TOKENS = 8, 96


@dataclass(frozen=True)
class Records:
    """N requests with M tokens; `spans[span[i]]` at its cursor `cursor[i]` is request i, whose tokens are `starts[i] … starts[i + 1]`.

    Attributes:
        prompt: tokens of the prompt, without the healed one; shared: of these, those that the cursor before has, too.
        final_characters: length of the text where no policy stops it; shorter than its last token's where a rule cut it.
        reasons: why it ended, index into `REASONS`.
        log_odds: of the tokens, among those that token healing allows.
        characters: length of the text with this token, without what healing spells again.
        low_states: (N, D, C) at the model's D value depths (`value_heads.value_depths`), behind what is written, from where the text's
            first token is decoded; divided by their root mean square (`unit_rms`).
    """

    spans: list[Span]
    span: np.ndarray
    cursor: np.ndarray
    starts: np.ndarray
    prompt: np.ndarray
    shared: np.ndarray
    final_characters: np.ndarray
    reasons: np.ndarray
    tokens: np.ndarray
    log_odds: np.ndarray
    characters: np.ndarray
    low_states: np.ndarray

    def __len__(self) -> int:
        return len(self.span)

    @classmethod
    def join(cls, parts: Sequence[Records]) -> Records:
        """One after another."""
        columns: dict[str, Any] = {
            each.name: np.concatenate([getattr(part, each.name) for part in parts])
            for each in fields(cls)
            if each.name not in ("spans", "span", "starts")
        }
        span_offsets = np.cumsum([0, *(len(part.spans) for part in parts)])
        token_offsets = np.cumsum([0, *(len(part.tokens) for part in parts)])
        return cls(
            spans=[span for part in parts for span in part.spans],
            span=np.concatenate([part.span + offset for part, offset in zip(parts, span_offsets, strict=False)]),
            starts=np.concatenate(
                [
                    *(part.starts[:-1] + offset for part, offset in zip(parts, token_offsets, strict=False)),
                    token_offsets[-1:],
                ]
            ),
            **columns,
        )


REASONS = ("floor", "line_floor", "end_of_line", "end_of_block", "closing_bracket", "suffix_reached", "repetition", "end_of_text", "max_tokens")  # fmt: skip


def write_records(path: Path, records: Records, weights: str) -> None:
    """An .npz; `weights`: see `record.weights_key`."""
    columns = {each.name: getattr(records, each.name) for each in fields(Records) if each.name != "spans"}
    about = json.dumps({"weights": weights, "spans": [asdict(span) for span in records.spans]})
    temporary = path.with_suffix(".part.npz")
    np.savez(temporary, about=np.frombuffer(about.encode(), np.uint8), **columns)
    temporary.replace(path)


def is_recorded(path: Path, spans: Sequence[Span], weights: str) -> bool:
    """Whether a file holds the records of these spans, made with these weights."""
    try:
        with np.load(path) as file:
            about = json.loads(file["about"].tobytes())
            return bool(about["weights"] == weights and about["spans"] == [asdict(span) for span in spans])
    except (OSError, ValueError, KeyError, TypeError, BadZipFile):
        return False


def read_records(folder: Path, weights: str) -> Records:
    """All files of a folder, in the order of their names.

    Raises Problem where there is none, or one is damaged or was recorded with other weights than these.
    """
    parts = []
    for path in sorted(folder.glob("*.npz")):
        if path.name.endswith(".part.npz"):
            continue
        try:
            with np.load(path) as file:
                about = json.loads(file["about"].tobytes())
                columns = {name: file[name] for name in file.files if name != "about"}
            spans = [Span(**span) for span in about["spans"]]
            parts.append(Records(spans=spans, **columns))
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise Problem("bad_request", f"{path} is damaged ({error}); remove it and record again.") from error
        if about["weights"] != weights:
            raise Problem(
                "bad_request", f"{path} was recorded with another model or bundle; remove it and record again."
            )
    if not parts:
        raise Problem("bad_request", f"there are no records in {folder}; record them with `green-code train records`.")
    return Records.join(parts)
