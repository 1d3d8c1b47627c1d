"""The progress of loading a model and of measuring its costs, as one line on standard error."""

from __future__ import annotations

import sys

_WIDTH = 70


def show_progress(_state: str, sentence: str, share: float | None) -> None:
    """Write over the line: an `engine.interfaces.Progress`."""
    text = sentence if share is None else f"{sentence} {share:4.0%}"
    print(f"\r{text.ljust(_WIDTH)}", end="", file=sys.stderr, flush=True)


def clear_progress() -> None:
    """Leave the line blank, for what is printed next."""
    print(f"\r{'':{_WIDTH}}\r", end="", file=sys.stderr, flush=True)
