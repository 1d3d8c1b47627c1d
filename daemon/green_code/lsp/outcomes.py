"""What becomes of the suggestions that are shown: taken whole, by the word, by typing along, or not at all.

An editor says when a suggestion was accepted whole. The rest is seen from the edits at the cursor: several characters at once
that the suggestion begins with were accepted, single ones were typed. Nothing is counted twice, also if it is taken back and
accepted again. A suggestion has one outcome: taken, at its first accepted character or when it was typed to its end; or not
taken, when the text goes on otherwise. If it was hardly visible, it has none.
Must not know: the engine, the gate, or the protocol.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from green_code.lsp.documents import Edit

VISIBLE_SECONDS: Final = 0.25
"""A suggestion that was visible for less was not read."""
REMEMBERED: Final = 64
"""Suggestions that may still be accepted; older ones are off the screen."""

_PAIRS: Final = ("()", "[]", "{}", '""', "''", "``")
"""What an editor inserts for an opening bracket or quote."""

Position = tuple[int, int]
"""Line and code point index, from 0."""


@dataclass
class Shown:
    """A suggestion that was shown at the end of `prefix`, where line `line` begins with `before`.

    It takes the place of the next `replaced` characters there, which it contains; `others` are alternatives with what they replace.
    The document has its first `at` characters; `counted` is the most that were ever typed or accepted.
    """

    row_id: str
    uri: str
    line: int
    before: str
    prefix: str
    text: str
    inputs: tuple[float, ...]  # the gate's, when it was asked for
    since: float
    replaced: int = 0
    others: tuple[tuple[str, int], ...] = ()
    at: int = 0
    counted: int = 0
    ended_by_one: bool = False  # its last character came alone
    has_outcome: bool = False

    def position(self, at: int) -> Position:
        """Where the first `at` characters of the text end."""
        head = self.text[:at]
        if breaks := head.count("\n"):
            return self.line + breaks, len(head) - head.rindex("\n") - 1
        return self.line, len(self.before) + at


class Outcomes:
    """The suggestions of one window. Times are seconds of any one clock.

    Args:
        on_accepted: called with a suggestion and how many more of its characters were accepted.
        on_outcome: called once with a suggestion, whether it was taken, and the time.
        on_gone: called with a suggestion that does not agree with the text any more.
    """

    def __init__(
        self,
        on_accepted: Callable[[Shown, int], None],
        on_outcome: Callable[[Shown, bool, float], None],
        on_gone: Callable[[Shown], None],
    ) -> None:
        self._on_accepted = on_accepted
        self._on_outcome = on_outcome
        self._on_gone = on_gone
        self._recent: OrderedDict[str, Shown] = OrderedDict()
        self._visible: Shown | None = None

    def is_visible(self, row_id: str) -> bool:
        """Whether the text still agrees with this suggestion."""
        return self._visible is not None and self._visible.row_id == row_id

    def rest(self, row_id: str, uri: str, here: Position) -> str:
        """What is left of this suggestion behind a position, if it is visible there; else nothing."""
        shown = self._visible
        if shown is None or shown.row_id != row_id or shown.uri != uri or shown.position(shown.at) != here:
            return ""
        return shown.text[shown.at :]

    def show(self, new: Shown, is_current: bool = True) -> bool:
        """A suggestion, or the rest of one, is shown; returns whether it is a new one.

        Args:
            is_current: the text is still that of the request.
        """
        shown = self._recent.get(new.row_id)
        if shown is not None and not (shown.uri == new.uri and new.prefix.startswith(shown.prefix)):
            shown = None
        if is_new := shown is None:
            shown = self._recent[new.row_id] = new
            if len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        if not is_current:
            return is_new
        if self._visible not in (None, shown):
            self._end(new.since)
        if not is_new:
            typed = new.prefix[len(shown.prefix) :]
            shown.line, shown.at, shown.text = new.line - typed.count("\n"), len(typed), typed + new.text
            shown.replaced = new.replaced
            if self._visible is not shown:
                shown.since = new.since
        self._visible = shown
        return is_new

    def accept(self, row_id: str, characters: int | None, now: float) -> None:
        """The editor says that a suggestion was accepted: its rest, or so many characters more.

        What was seen in the document before is not counted again; an unknown id is ignored.
        """
        if (shown := self._recent.get(row_id)) is None:
            return
        rest = len(shown.text) - shown.counted
        if rest == 0 and shown.ended_by_one:  # one character is typed or accepted, as the editor now says
            shown.ended_by_one = False
            self._on_accepted(shown, 1)
            return
        self._accepted(shown, shown.counted + (rest if characters is None else min(characters, rest)), now)
        if shown.counted >= len(shown.text) and self._visible is shown:
            self._visible = None

    def dismiss(self, now: float) -> Shown | None:
        """The user rejected the visible suggestion by a key; returns it."""
        shown, self._visible = self._visible, None
        if shown is not None:
            self._outcome(shown, False, now)
            self._on_gone(shown)
        return shown

    def change(self, uri: str, start: Position, end: Position, text: str, edit: Edit, now: float) -> None:
        """The text between two positions was replaced.

        Args:
            start, end: before the edit.
            text: the new text, with \\n as the only line end.
        """
        shown = self._visible
        if shown is None or shown.uri != uri:
            return
        here = shown.position(shown.at)
        if start == here and shown.at == 0 and (text, end[1] - start[1]) in shown.others and end[0] == start[0]:
            shown.text, shown.replaced = text, end[1] - start[1]  # an alternative was accepted
        if end[0] < shown.line:
            shown.line += edit.added
        elif start <= here:
            at = shown.at
            while at >= 0 and shown.position(at) > start:
                at -= 1
            typed = text[0] if text in _PAIRS else text
            agrees = at >= 0 and shown.position(at) == start and shown.text.startswith(typed, at)
            if not agrees or end < here or (end > here and not typed):
                self._end(now)
                return
            accepts = shown.replaced > 0 and end == (here[0], here[1] + shown.replaced) and shown.text[at:] == typed
            self._agree(shown, at, typed, is_insertion=start == end or accepts, now=now)

    def close_document(self, uri: str) -> None:
        """A document was closed or replaced; what would have become of its suggestion is unknown."""
        if self._visible is not None and self._visible.uri == uri:
            self._on_gone(self._visible)
            self._visible = None

    def _agree(self, shown: Shown, at: int, typed: str, is_insertion: bool, now: float) -> None:
        """The text went on with `typed`, as the suggestion does behind its first `at` characters."""
        shown.at = at + len(typed)
        if is_insertion and len(typed) > 1 and typed.strip():  # a line end and its indentation are one key
            self._accepted(shown, shown.at, now)
        else:
            shown.ended_by_one = shown.counted < shown.at == len(shown.text) and len(typed) == 1
            shown.counted = max(shown.counted, shown.at)
        if shown.at == len(shown.text):
            self._visible = None
            self._outcome(shown, True, now)

    def _accepted(self, shown: Shown, counted: int, now: float) -> None:
        if (more := counted - shown.counted) > 0:
            shown.counted = counted
            if counted == len(shown.text):
                more = max(1, more - shown.replaced)  # those were there before
            self._on_accepted(shown, more)
            self._outcome(shown, True, now)

    def _end(self, now: float) -> None:
        """The visible suggestion is not there any more."""
        shown, self._visible = self._visible, None
        if shown is not None:
            if now - shown.since >= VISIBLE_SECONDS:
                self._outcome(shown, False, now)
            self._on_gone(shown)

    def _outcome(self, shown: Shown, taken: bool, now: float) -> None:
        if not shown.has_outcome:
            shown.has_outcome = True
            self._on_outcome(shown, taken, now)
