"""What the benchmark asks of an engine, and what it asks about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Prompt:
    """A prompt as tokens of the bundle's vocabulary, the beginning-of-text token included, and as the text of the rest.

    The text ends where a line does, or in one token that is a single character: so its tokens are the same ones
    whatever comes before, and an engine that takes text reads what the others are given as numbers.
    """

    ids: tuple[int, ...]
    text: str


class Peer(Protocol):
    """An engine with a loaded model. It decodes greedily, and keeps its key-value cache between completions."""

    def describe(self) -> str:
        """Version, data type and processor features, for the table."""

    def use_threads(self, count: int) -> None:
        """Compute on `count` threads from now on."""

    def forget(self) -> None:
        """Drop the cache: the next prompt is computed from its beginning."""

    def complete(self, prompt: Prompt, count: int) -> Sequence[int | str]:
        """`count` tokens after `prompt`, the end of the text not being one that ends them.

        The cache of the longest common beginning is used, as far as the engine can.
        Returns:
            Ids of the bundle's vocabulary, or the tokens' texts where the engine tells no ids.
        """


@dataclass(frozen=True)
class Spec:
    """An engine that takes part. `kind` is a module of `peers/`; `options` are what its `open_peer` is given."""

    name: str
    label: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Missing:
    """An engine that does not take part, and why: it is shown as such rather than left out."""

    name: str
    label: str
    why: str
