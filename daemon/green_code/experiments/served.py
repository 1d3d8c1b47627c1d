"""A completion of a prompt of tokens, as a session makes it that knows nothing yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from green_code.decoding.effort import Effort
from green_code.decoding.exits import Policy
from green_code.decoding.generate import exact, fast
from green_code.decoding.staircase import RISING, Staircase
from green_code.engine.runtime import Runtime


def as_served(
    runtime: Runtime, prompt: Sequence[int], policy: Policy, *, exactly: bool, max_tokens: int
) -> tuple[Staircase, Effort, Iterator[tuple[int, int]]]:
    """Tokens are guessed from the text, and in `fast` the prompt settles, where the bundle has a plateau.

    Args:
        exactly: by `exact` rather than `fast`.
    Returns:
        The staircase and the effort, in which is counted what is done; and the stream of (token, depth), which no stop rule ends.
    """
    stairs, effort = Staircase(runtime.decoder, plateau=None if exactly else runtime.plateau), Effort()
    drafter = runtime.new_session().drafter
    stairs.append(prompt)
    stairs.settle(len(prompt) - 1 - RISING)
    if drafter.lookup is not None:
        drafter.lookup.document.follow(prompt)
    decode = exact if exactly else fast
    return stairs, effort, decode(
        stairs, policy, runtime.chooser, b"", effort, drafter=drafter, max_tokens=max_tokens
    )  # fmt: skip
