"""Prompts for a server whose tokenizer we do not have: characters take the place of tokens.

So the prompt builder of local models lays these prompts out, too. The special tokens of fill-in-the-middle become their names, which the
server reads as tokens, or for `/infill` the parts between them.
Must not know: HTTP, or how a prompt is laid out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from green_code.link.messages import CompletionParams
from green_code.models.fim import NAMES, Fim

CHARACTERS_PER_TOKEN: Final = 3
"""Code has 3 to 4; a prompt is rather too short than too long."""
_FIRST_SPECIAL: Final = 0x110000  # behind the last character
_SPECIAL: Final = tuple(sorted(NAMES))
_PREFIX, _SUFFIX, _MIDDLE, _FILE = range(0x200000, 0x200004)
INFILL: Final = Fim(_PREFIX, _SUFFIX, _MIDDLE, file=_FILE)
"""A format whose tokens separate the parts that `/infill` takes."""


class CharacterBytes:
    """The bytes of a character, by its code point."""

    def __getitem__(self, token: int, /) -> bytes:
        return chr(token).encode() if token < _FIRST_SPECIAL else b""


class Characters:
    """Stands for a vocabulary."""

    bos: int | None = None
    token_bytes = CharacterBytes()

    def encode(self, text: str) -> list[int]:
        """Code points; a surrogate, which no text in UTF-8 has, becomes U+FFFD."""
        return [0xFFFD if 0xD800 <= (point := ord(character)) < 0xE000 else point for character in text]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text, with special tokens by their names."""
        return "".join(chr(token) if token < _FIRST_SPECIAL else _SPECIAL[token - _FIRST_SPECIAL] for token in tokens)


def in_characters(params: CompletionParams) -> CompletionParams:
    """The same request, with its limits of tokens in characters."""
    return {**params, "max_prompt_tokens": CHARACTERS_PER_TOKEN * params["max_prompt_tokens"]}


class ServerTokens(Mapping[str, int]):
    """The special tokens that a server's tokenizer knows, by name. It is asked for each when it matters.

    Args:
        count: how many tokens the server makes of a text; None: it does not say.
    """

    def __init__(self, count: Callable[[str], int | None]) -> None:
        self._count = count
        self._known: dict[str, bool] = {}

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str) or name not in _SPECIAL:
            return False
        if name not in self._known:
            self._known[name] = self._count(name) == 1
        return self._known[name]

    def __getitem__(self, name: str) -> int:
        if name not in self:
            raise KeyError(name)
        return _FIRST_SPECIAL + _SPECIAL.index(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in _SPECIAL if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def infill_body(tokens: Sequence[int], behind: str) -> dict[str, Any]:
    """What `/infill` takes of a prompt in the format `INFILL`.

    Args:
        behind: text of the cursor's line behind these.
    """
    text, whole = Characters(), list[int]()
    parts, files, current = dict[int, list[int]](), list[list[int]](), whole
    for token in tokens:
        if token == _FILE:
            files.append(current := [])
        elif token in (_PREFIX, _SUFFIX, _MIDDLE):
            parts[token] = current = []
        else:
            current.append(token)
    if _PREFIX in parts:
        above, line = text.decode(parts[_PREFIX]), text.decode(parts[_MIDDLE])
    else:  # there is nothing behind the cursor to read; behind the last file's name comes the window
        window = text.decode(files.pop()).partition("\n")[2] if files else text.decode(whole)
        cut = window.rfind("\n") + 1
        above, line = window[:cut], window[cut:]
    extra = [text.decode(file).partition("\n") for file in files]
    return {
        "input_prefix": above,
        "input_suffix": text.decode(parts.get(_SUFFIX, ())),
        "prompt": line + behind,
        "input_extra": [{"filename": path, "text": lines} for path, _, lines in extra if lines],
    }
