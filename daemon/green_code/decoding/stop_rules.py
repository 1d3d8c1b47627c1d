"""Stop rules: when a completion is finished, checked after every token.

Each rule is one function of the text so far and the situation at the cursor; it returns the length to which the text is cut, or
None. A rule ends generation, not only the text, and its name is the reason that users see. `RULES` is their order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from green_code.decoding.blocks import Block, block_at, indentation_of, is_definition
from green_code.decoding.brackets import Reading, opened, read, unowned
from green_code.languages import Language, language_of
from green_code.lexical import CLOSERS, OPENERS

_LINE = re.compile(r"\S.*\n")  # with content
_BLANK_LINES = re.compile(r"\n[ \t]*\n[ \t]*\n")
_CLOSING = re.compile(r"[)\]}]+")
_WORD = re.compile(r"\w*")
_LEAVING = re.compile(r"(?:return|raise|throw|break|continue)\b")
_LOOK_AHEAD = 2000  # characters after the cursor's line
_LONGEST_PERIOD_LINES = 8
_LONGEST_PIECE = 32
_LEAST_COUNTED, _COUNTED_TIMES = 9, 5
_LONGEST_RUN = 80  # of one character: a separator ends sooner
_LONGEST_WORD_RUN = 24  # of one letter or digit
_CONTINUING = (
    "else", "elif", "elsif", "elseif", "except", "finally", "catch", "rescue", "ensure", "then", "do", "where", *CLOSERS, "{", ".", "|", "&",
)  # fmt: skip
"""A line at the margin that begins with one of these continues the statement above."""


@dataclass(frozen=True)
class Situation:
    """What the rules know about the cursor.

    `line` is the text before the cursor on its line, `above` the text before that, `rest_of_line` the text after the cursor
    there, `after` the following lines, and `next_line` the first of them with content, indented as it is.
    """

    above: str
    line: str
    rest_of_line: str
    after: str
    next_line: str
    single_line: bool
    max_lines: int
    language: Language

    @classmethod
    def at(cls, prefix: str, suffix: str, single_line: bool, max_lines: int, language: str = "") -> Situation:
        """
        Args:
            language: VS Code's identifier.
        """
        rest, _, after = suffix.partition("\n")
        following = (line.rstrip() for line in after.split("\n"))
        next_line = next((text for text in following if text), "")
        line = prefix[prefix.rfind("\n") + 1 :]
        above, after = prefix[: len(prefix) - len(line)], after[:_LOOK_AHEAD]
        return cls(above, line, rest, after, next_line, single_line, max_lines, language_of(language))

    @cached_property
    def block(self) -> Block:
        """The cursor's block, by the text before the cursor."""
        return block_at(self.above + self.line, self.language)

    @property
    def inside(self) -> str:
        """What began the string or comment in which the cursor stands; "" in code."""
        return self.block.inside

    @cached_property
    def still_to_close(self) -> int:
        """How many of the line's open brackets, the inner ones, nothing after the cursor closes."""
        behind = read(f"{self.rest_of_line}\n{self.after}", self.language, self.inside)
        own = opened(read(self.line, self.language).brackets)
        return max(0, len(own) - len(unowned(behind.brackets)))

    @cached_property
    def is_closed(self) -> bool:
        """Whether the text after the cursor closes the cursor's block: the first line outside of it does."""
        block, lines = self.block, [line for line in self.after.split("\n") if line.strip()]
        if block.outside is not None and self.language.blocks == "braces":
            line = next((line for line in lines if indentation_of(line) <= block.outside), "")
            return indentation_of(line) == block.outside and _closes(line.lstrip(), self.language)
        least = block.indentation if block.indentation is not None else len(self.line)
        line = next((line for line in lines if indentation_of(line) < max(1, least)), "")
        return _closes(line.lstrip(), self.language)

    @cached_property
    def has_code_above(self) -> bool:
        """Whether there is more above the cursor's line than the head of a file."""
        reading, place, imports = read(self.above, self.language), 0, self.language.imports
        for line in self.above.split("\n"):
            if re.match(r"\w", line) and not reading.within(place) and not (imports and imports.match(line)):
                return True
            place += len(line) + 1
        return False


def end_of_line(text: str, at: Situation) -> int | None:
    """The end of a single line."""
    return line_end(text, at) if at.single_line else None


def line_end(text: str, at: Situation, start: int = 0) -> int | None:
    """The end, at `start` or later, of a line with content; where the cursor's line is blank, leading line breaks pass."""
    content = at.line.strip()[:1]
    ends = (match.end() - 1 - len(content) for match in _LINE.finditer(content + text))
    return next((end for end in ends if end >= start), None)


def closing_bracket(text: str, at: Situation) -> int | None:
    """A closing bracket that the completion did not open and that the rest of the line has already.

    Of the line's open brackets, the text after the cursor closes the outer ones; the completion closes the others.
    """
    rest = at.rest_of_line.lstrip()
    if not rest.startswith(tuple(CLOSERS)):
        return None
    closing = unowned(read(text, at.language, at.inside).brackets)[at.still_to_close :]
    return next((place for place, bracket in closing if rest.startswith(bracket)), None)


def suffix_reached(text: str, at: Situation) -> int | None:
    """The completion repeats the next line of the file, or the rest of the cursor's own line.

    Where it ends like that rest but has opened a bracket or a string itself, the end is its own.
    """
    rest, written = at.rest_of_line.strip(), text.rstrip()
    if len(rest) > 1 and written.endswith(rest):
        kept = written.removesuffix(rest)
        reading = read(kept, at.language, at.inside)
        if not opened(reading.brackets) and reading.inside == at.inside:
            return len(kept)
    lines = text.split("\n")
    if len(at.next_line.strip()) > 2:
        for i, line in enumerate(lines[1:-1], 1):
            if line.rstrip() == at.next_line:
                return len("\n".join(lines[:i]))
    return None


def end_of_block(text: str, at: Situation) -> int | None:
    """The maximum of lines, two blank lines, or what does not belong to the cursor's block."""
    if at.single_line:
        return None  # `end_of_line` decides; it lets leading line breaks pass where the line is blank
    reading = read(text, at.language, at.inside)
    ends = [
        _brace(text, at, reading),
        _closed_after(text, at, reading),
        _unopened(text, at, reading),
        _line_outside(text, at, reading),
    ]
    content = 0 if at.line.strip() else len(text) - len(text.lstrip())
    if blank := _BLANK_LINES.search(text, content):
        ends.append(blank.start())
    if text.count("\n") >= at.max_lines:
        ends.append(len("\n".join(text.split("\n")[: at.max_lines])))
    return min((end for end in ends if end is not None), default=None)


def _brace(text: str, at: Situation, reading: Reading) -> int | None:
    """Behind the brace that closes the cursor's block, or before it where the file closes the block after the cursor; and behind
    the brace that closes a definition which the completion itself has opened."""
    if at.language.blocks != "braces":
        return None
    closing = next((place for place, bracket in unowned(reading.brackets) if bracket == "}"), None)
    if closing is not None:
        if at.is_closed:
            return len(text[:closing].rstrip())
        written = _CLOSING.match(text, closing)
        length = len(written.group()) if written else 1
        together = at.block.together if at.block.open[-1:] == ("{",) else 1
        if together > 1 and closing + length == len(text):
            return None  # of `});` the rest may be to come
        end = closing + min(length, together)
        return end + (text[end : end + 1] in (";", ","))
    begun = at.block.begun or text.lstrip()
    if is_definition(begun + text, at.language) and not begun.startswith("@") and not opened(reading.brackets):
        depth = [place for place, bracket in reading.brackets if bracket == "}"]
        return depth[-1] + 1 if depth else None
    return None


def _closed_after(text: str, at: Situation, reading: Reading) -> int | None:
    """Before a line that begins with a closing bracket with which the next line of the file begins, too, and which belongs there."""
    behind = unowned(read(f"{at.rest_of_line}\n{at.after}", at.language, at.inside).brackets)
    for place, bracket in unowned(reading.brackets)[max(0, len(at.block.open) - len(behind)) :]:
        before = text[:place].rstrip(" \t")
        if before.endswith("\n") and at.next_line.lstrip().startswith(bracket):
            return len(before) - 1
    return None


def _unopened(text: str, at: Situation, reading: Reading) -> int | None:
    """Before a closing bracket that nothing has opened. At a line's beginning it may belong to what was cut off above."""
    if at.inside or at.language.blocks == "none" or "esac" in at.language.keywords:
        return None  # of a list in prose, or of a shell's pattern
    closing = unowned(reading.brackets)[len(at.block.open) :]
    return next((place for place, _ in closing if (at.line + text[:place]).rpartition("\n")[2].strip()), None)


def _line_outside(text: str, at: Situation, reading: Reading) -> int | None:
    """Before the first line that is outside of the block: indented less, behind a statement that leaves the block, a second
    statement at the margin, a second definition, or an import below code. What closes the block is kept, unless the file has it."""
    block, language, lines, place = at.block, at.language, text.split("\n"), 0
    least, above = block.indentation, block.begun
    leaves = _LEAVING.match(block.begun + lines[0]) is not None
    for i, line in enumerate(lines):
        start, place = place, place + len(line) + 1
        content = ((at.line if i == 0 else "") + line).strip()
        continues = i > 0 and _continues(start, reading, block.continued(language), language)
        if i and leaves and not continues and _is_complete(lines[i - 1], at):
            return start - 1
        if not content or (i == 0 and at.line.strip()):
            continue
        is_brace = language.blocks == "braces" and content.startswith("}")  # `_brace` decides
        if is_brace or continues:
            above = content
            continue
        indentation = indentation_of((at.line if i == 0 else "") + line)
        least = indentation if least is None else least
        is_last = i == len(lines) - 1
        at_margin = least == 0 == indentation and language.blocks != "none"
        if indentation < least or (at_margin and above and not above.startswith(("@", "#["))):
            if is_last and _may_become(content, language):
                return None
            if indentation < least and _closes(content, language) and not at.is_closed:
                return start + len(line) - len(line.lstrip()) + len(_closer(content))
            if indentation < least or not content.startswith(_CONTINUING):
                return max(0, start - 1)
        is_second = above and indentation <= least and not above.startswith(("@", "#["))
        if is_second and is_definition(content if is_last else content + " ", language):
            return max(0, start - 1)
        if indentation == 0 and language.imports and language.imports.match(content) and at.has_code_above:
            return max(0, start - 1)
        if not content.startswith(language.line_comments):
            above = content
        leaves = indentation == least and _LEAVING.match(content) is not None
    return None


def _is_complete(line: str, at: Situation) -> bool:
    """Whether a statement that leaves the block is complete at the end of a line, and nothing that closes the block is to come."""
    if at.language.blocks == "braces":
        return at.is_closed and line.rstrip().endswith(";")
    return at.language.blocks == "indent" and not line.endswith("\\") and (at.is_closed or not at.language.closers)


def _continues(place: int, reading: Reading, open_before: Sequence[str], language: Language) -> bool:
    """Whether a line break at a place ends no statement, because a bracket or a string is open there."""
    if any(start and start < place < end for start, end in reading.spans):
        return True
    left = list(open_before)
    for where, bracket in reading.brackets:
        if where >= place:
            break
        if bracket in OPENERS:
            left.append(bracket)
        elif left:
            left.pop()
    return bool(left) and (language.blocks != "braces" or left[-1] != "{")


def _may_become(content: str, language: Language) -> bool:
    """Whether an unfinished line may still begin with a word that closes a block or continues a statement."""
    return any(word.startswith(content) and word != content for word in (*language.closers, *_CONTINUING))


def _closes(content: str, language: Language) -> bool:
    return bool(content) and (content[0] in CLOSERS or _closer(content) in language.closers)


def _closer(content: str) -> str:
    return (_CLOSING.match(content) or _WORD.match(content) or re.match("", content)).group()  # type: ignore[union-attr]


def repetition(text: str, at: Situation) -> int | None:
    """The last lines repeat, or repeat those above the cursor, or one short piece fills the line; cut before the repeat. A
    separator line is no repetition, unless it does not end."""
    lines = text.split("\n")
    done = [at.line + lines[0], *lines[1:]][:-1]
    above = at.above.split("\n")[-2 * _LONGEST_PERIOD_LINES - 1 : -1]
    own = len(done) - bool(at.line.strip())  # what the user wrote is no repetition
    for period in range(1, min(own, _LONGEST_PERIOD_LINES) + 1):
        tail = [*above, *done][-2 * period :]
        repeats = len(tail) == 2 * period and tail[:period] == tail[period:]
        if repeats and any(re.search(r"\w", line) for line in tail):
            return max(0, len("\n".join(lines[: len(done) - period])))
    if done and is_definition(done[-1], at.language) and f"\n{done[-1]}\n" in f"\n{at.above}":
        return len("\n".join(lines[: len(done) - 1]))
    last = lines[-1]
    if last.strip() and last.endswith(last[-1] * _LONGEST_RUN):
        return len(text)
    if last[-1:].isalnum() and last.endswith(last[-1] * _LONGEST_WORD_RUN):
        return len(re.sub(r"\w+\Z", "", text))
    for width in range(2, _LONGEST_PIECE + 1):
        piece, times = last[-width:], 6 if width <= 8 else 3
        if last.endswith(piece * times) and len(set(piece)) > 1:
            return len(text) - (times - 1) * width
    return _counting(text, last)


def _counting(text: str, last: str) -> int | None:
    """A longer piece repeats in which only numbers differ."""
    units = re.findall(r"\d+|\D", last)
    signs = ["0" if unit[0].isdigit() else unit for unit in units]
    for width in range(_LEAST_COUNTED, _LONGEST_PIECE + 1):
        repeated = signs[-width:] * _COUNTED_TIMES
        if "0" in repeated and signs[-_COUNTED_TIMES * width :] == repeated:
            return len(text) - sum(map(len, units[-(_COUNTED_TIMES - 1) * width :]))
    return None


RULES: tuple[tuple[str, Callable[[str, Situation], int | None]], ...] = (
    ("end_of_line", end_of_line),
    ("closing_bracket", closing_bracket),
    ("suffix_reached", suffix_reached),
    ("end_of_block", end_of_block),
    ("repetition", repetition),
)


def check(text: str, at: Situation) -> tuple[str, int] | None:
    """The first rule that ends the completion, and the length of the text to keep."""
    for reason, rule in RULES:
        if (cut := rule(text, at)) is not None:
            return reason, cut
    return None
