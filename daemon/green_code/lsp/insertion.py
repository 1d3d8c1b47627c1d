"""What may be inserted at a cursor: the model's text made to fit the text around it, or nothing.

The model does not see what follows the cursor, so it often writes that again. What a suggestion repeats of the rest of its line
is replaced, as LSP's range of an inline completion allows. Editors show it as ghost text if the replaced text is a subsequence of
the new one, and the range starts at the cursor. Brackets and strings are as balanced afterwards as before, or better.
Must not know: the engine, the protocol, or why a suggestion was made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from green_code.lexical import CLOSER_OF, CLOSERS, OPENERS, State, is_word, read
from green_code.lsp import joints, nonsense
from green_code.lsp.grammar import SyntaxCheck
from green_code.lsp.indentation import indented, is_misplaced
from green_code.lsp.spot import Spot, indentation_of

_CLOSING: Final = re.compile(r"[)\]}\"'`][)\]}\"'`;:,{ ]*")
_TOKEN: Final = re.compile(r"\w+|\s+|[^\w\s]")
_LONG: Final = 6
"""Characters of the rest of a line that are hardly repeated by chance."""
_SIMILAR: Final = 4
"""Tokens, blanks among them, that say that a suggestion writes the rest of the line in other words."""


class Insertion(NamedTuple):
    """A text for the cursor, in whose place the next `replaced` characters of the line go; it contains them."""

    text: str
    replaced: int = 0


class Refused(NamedTuple):
    """Nothing can be inserted. `code` says why to the user (`explain.TEXTS`), `cause` more exactly."""

    code: str
    cause: str = ""


def fit(raw: str, spot: Spot, is_read: bool = False) -> Insertion | Refused:
    """The model's text as it may be inserted.

    Args:
        is_read: it is what is left of a suggestion that stands there; what is nonsense is known before anything is typed along.
    """
    text = raw.rstrip()
    if not text.strip():
        return Refused("empty")
    if spot.is_blank:
        if spot.automatic and text[0].isspace():
            return Refused("tab_indents")
        if is_misplaced(text := indented(text, spot), spot):
            return Refused("misplaced")
    if (text := _before_the_line_below(text, spot)) == "":
        return Refused("nothing_new")
    for kind, is_kind in nonsense.KINDS.items():
        if not is_read and is_kind(text, spot):
            return Refused("nothing_new" if kind == "repeated_line" else "nonsense", kind)
    return _fit_lines(text.split("\n"), spot)


def _fit_lines(lines: list[str], spot: Spot) -> Insertion | Refused:
    """As many of the lines as can be inserted."""
    syntax, known_faults = SyntaxCheck(spot), dict[tuple[State, int], int]()
    refused: Refused | None = None
    for count in range(len(lines), 0, -1):
        if head := "\n".join(lines[:count]).rstrip():
            found = _Fitting(head, spot, syntax, known_faults).best()
            if isinstance(found, Insertion):
                return found
            refused = refused or found
    return refused or Refused("empty")


def _before_the_line_below(text: str, spot: Spot) -> str:
    """The text up to a line that the file goes on with."""
    lines = text.split("\n")
    below = spot.line_below
    if len(below.strip()) >= 3:
        for number, line in enumerate(lines[1:], 1):
            if line.rstrip() == below:
                return "\n".join(lines[:number]).rstrip()
    return text


@dataclass(frozen=True)
class _Fitting:
    """One text at one place."""

    text: str
    spot: Spot
    syntax: SyntaxCheck
    known_faults: dict[tuple[State, int], int]

    def best(self) -> Insertion | Refused:
        """The way to insert it that leaves the fewest faults, and no more than there are; of equal ones the first that the
        grammar accepts."""
        cause, found = "unbalanced", list[tuple[int, Insertion]]()
        for way in dict.fromkeys(self._ways()):
            if (mended := self._mended(way)) is None:
                continue
            rest = self.spot.rest[mended.replaced :]
            if "\n" in mended.text and any(map(is_word, rest)):
                cause = "does_not_join"  # what is left of the line belongs to the text's first
            elif not _adds(mended, self.spot):
                cause = "nothing_new"
                if way.replaced:
                    break  # it is the rest of the line, in whatever other ways it could be inserted
            elif not joints.hold(mended.text, self.spot, rest, not self._read(mended.text).inside):
                cause = "does_not_join"
            elif (faults := self._faults(mended)) <= self._faults_now:
                found.append((faults, mended))
        for _, mended in sorted(found, key=lambda each: each[0]):
            for complete in joints.completions(mended.text, self.spot, self.spot.rest[mended.replaced :].strip() == ""):
                if self.syntax.is_no_worse(complete, mended.replaced):
                    return Insertion(complete, mended.replaced)
            cause = "parses_worse"
        return Refused("nothing_new" if cause == "nothing_new" else "breaks_code", cause)

    # --- ways ---------------------------------------------------------------------------------------------
    def _ways(self) -> Iterator[Insertion]:
        """Ways to insert it beside the rest of the line, the likeliest to be meant first."""
        text, rest = self.text, self.spot.rest
        yield from self._covering()
        if rest.endswith(text[-1]) and text[-1] in ":;{":
            yield Insertion(text[:-1].rstrip())
        yield Insertion(text)
        yield from self._cut(text)

    def _covering(self) -> Iterator[Insertion]:
        """Where it repeats the rest of the line, or the beginning of that."""
        text, rest = self.text, self.spot.rest
        core = rest.lstrip()
        blanks = len(rest) - len(core)
        if not core:
            return
        if any(map(self._is_level, _places(core, text))) or (len(core) >= _LONG and core in text):
            yield Insertion(text, len(rest))
        for length in range(min(len(core) - 1, len(text)), 0, -1):
            place = len(text) - length
            if (
                text.endswith(core[:length])
                and _is_edge(text, place)
                and _is_edge(core, length)
                and self._is_level(place)
            ):
                yield Insertion(text, blanks + length)
                break
        yield from self._similar(core, blanks)
        if text.endswith(core[-_LONG:]) and _contains(text, core):
            yield Insertion(text, len(rest))
        closing = _CLOSING.match(core)
        for length in range(len(closing.group()) if closing else 0, 0, -1):
            if _contains(text, core[:length]):
                yield Insertion(text, blanks + length)

    def _similar(self, core: str, blanks: int) -> Iterator[Insertion]:
        """Where it goes on like the rest of the line and then otherwise, the rest of the line counts."""
        text = self.text
        for place in range(1, len(text)):
            if text[place] != core[0] or text[place : place + 2] != core[:2] or not _is_edge(text, place):
                continue
            length = _same_tokens(text[place:], core)
            if len(_TOKEN.findall(core[:length])) >= _SIMILAR and self._is_level(place):
                yield Insertion(text[: place + length].rstrip(), blanks + len(core[:length].rstrip()))
                return

    def _cut(self, text: str) -> Iterator[Insertion]:
        """Before a sign that closes what it has not opened."""
        now = self.spot.state
        for place, character in enumerate(text):
            if character in CLOSERS or character == now.inside[:1]:
                state = self._read(text[: place + 1])
                if len(state.open) < len(now.open) or state.faults > now.faults or (now.inside and not state.inside):
                    yield Insertion(text[:place].rstrip())

    # --- balance ------------------------------------------------------------------------------------------
    def _read(self, text: str) -> State:
        return read(text, self.spot.language, self.spot.state)

    def _is_level(self, place: int) -> bool:
        """Whether the text up to a place leaves the cursor's brackets and string as they are."""
        state = self._read(self.text[:place])
        return (state.open, state.inside) == (self.spot.state.open, self.spot.state.inside)

    def _faults(self, found: Insertion) -> int:
        """Of the text from the cursor on."""
        key = self._read(found.text), found.replaced
        if key not in self.known_faults:
            rest = self.spot.after[found.replaced :] + self.spot.below
            self.known_faults[key] = read(rest, self.spot.language, key[0]).at_end()
        return self.known_faults[key]

    @cached_property
    def _faults_now(self) -> int:
        return self._faults(Insertion(""))

    def _mended(self, found: Insertion) -> Insertion | None:
        """With what closes its own brackets and strings, if that is missing; None: there are more faults than before."""
        spot = self.spot
        found = self._without_loose_end(found)
        state = self._read(found.text)
        is_level = not found.replaced and (state.open, state.inside) == (spot.state.open, spot.state.inside)
        if not (is_level or self._faults(found) <= self._faults_now):
            found = self._without_loose_end(Insertion(self._closed(found.text), found.replaced))
        is_shown = found.text.strip() and _contains(found.text, spot.after[: found.replaced])
        return found if is_shown and self._faults(found) <= self._faults_now else None

    def _without_loose_end(self, found: Insertion) -> Insertion:
        if not self.spot.in_code:
            return found
        rest = self.spot.rest[found.replaced :]
        return found._replace(text=joints.without_loose_end(found.text, self.spot, self._read(found.text), rest))

    def _closed(self, text: str) -> str:
        """The text with its own brackets and strings closed; what has just been opened is taken back."""
        spot = self.spot
        while text:
            state = self._read(text)
            own = state.open[len(spot.state.open) :]
            quote = state.inside if state.in_string and state.inside != spot.state.inside else ""
            is_block = bool(own) and own[-1] == "{" and spot.has_braces and not quote
            if quote and text.endswith(quote):
                text = text[: -len(quote)].rstrip()
            elif not quote and not is_block and (text[-1] in OPENERS or (own and text[-1] in ",.=+-&|")):
                text = text[:-1].rstrip()
            else:
                break
        else:
            return ""
        for bracket in reversed(own):
            if bracket == "{" and spot.has_braces and ("\n" in text or text.endswith("{")):
                text += f"{quote}\n{_indentation_of_opener(spot.before + text, spot)}}}"
            else:
                text += quote + CLOSER_OF[bracket]
            quote = ""
        return text + quote


def _indentation_of_opener(text: str, spot: Spot) -> str:
    """The indentation of the line with the innermost brace that is open."""
    depth = 0
    for line in reversed(text.split("\n")):
        for character in reversed(line):
            depth += (character == "}") - (character == "{")
            if depth < 0:
                return indentation_of(line)
    return indentation_of(spot.before)


def _adds(found: Insertion, spot: Spot) -> bool:
    """Whether there is anything that the line does not have."""
    return len(found.text.split()) > 0 and "".join(found.text.split()) != "".join(spot.after[: found.replaced].split())


def _places(part: str, text: str) -> Iterator[int]:
    """Where `part` is in a text, at the edges of words."""
    place = text.find(part)
    while place >= 0:
        if _is_edge(text, place) and _is_edge(text, place + len(part)):
            yield place
        place = text.find(part, place + 1)


def _is_edge(text: str, place: int) -> bool:
    """Whether no word goes on at a place."""
    return not (0 < place < len(text) and is_word(text[place - 1]) and is_word(text[place]))


def _same_tokens(one: str, other: str) -> int:
    """The length of the tokens with which both begin."""
    length = 0
    for token, match in zip(_TOKEN.findall(one), _TOKEN.finditer(other), strict=False):
        if token != match.group():
            break
        length = match.end()
    return length


def _contains(text: str, part: str) -> bool:
    """Whether a part's characters are in the text in their order."""
    characters = iter(text)
    return all(character in characters for character in part)
