"""The engines. Each module has a class `Engine`, a `Peer`; only the engine's own process imports it (`process.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Prompt:
    """A prompt as ids of the bundle's vocabulary, with the beginning-of-text token, and as text without it.

    The text ends with a line, or in one token that is a single character. So its tokens do not depend on what comes
    before, and an engine that takes text reads the same tokens as one that takes ids.
    """

    ids: tuple[int, ...]
    text: str


class Peer(Protocol):
    """An engine with a loaded model. It decodes greedily and keeps its KV cache between completions.

    `version` names version, data type and processor features. `complete` gives `count` tokens, past the end of the text if
    need be: ids of the bundle's vocabulary (−1: not in it), or texts if the engine gives no ids.
    """

    def version(self) -> str: ...
    def set_threads(self, count: int) -> None: ...
    def clear_cache(self) -> None: ...
    def complete(self, prompt: Prompt, count: int) -> Sequence[int | str]: ...


@dataclass(frozen=True)
class Spec:
    """An engine: `Engine(**options)` of the module `kind`. `missing` says why it cannot take part."""

    name: str
    label: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""
