"""Suggestions at the beginning of a line: at which columns a line may begin, and text in the file's own indentation.

Must not know: how a text is fitted into the rest of its line.
"""

from __future__ import annotations

import re
from typing import Final

from green_code.lsp.spot import Spot, columns, indentation_of

_LABEL: Final = re.compile(r"(?:case\b.*|default|public|private|protected|[\w.]+)\s*:|#|\}|\)|\]")


def indented(text: str, spot: Spot) -> str:
    """A text for a blank line, by hand perhaps with white space before it: its first line at the block's column or the
    cursor's, the others in the file's unit."""
    content = text.lstrip()
    blanks = text[: len(text) - len(content)]
    first = blanks
    if "\n" in blanks:  # the line is another's, with all of its indentation
        own = blanks.rpartition("\n")[2]
        first = own[len(spot.before) :] if own.startswith(spot.before) else ""
    if first and columns(spot.before + first) not in _expected(spot):
        first = ""
    return first + _in_unit(content, spot)


def _in_unit(text: str, spot: Spot) -> str:
    """The lines behind the first with the file's unit in place of the text's own."""
    lines, unit = text.split("\n"), spot.unit
    inner = [line for line in lines[1:] if line.strip()]
    if not inner or not unit:
        return text
    base = indentation_of(spot.before)
    steps = [columns(indentation_of(line)) - columns(base) for line in inner]
    step = min((step for step in steps if step > 0), default=0)
    width = columns(unit)
    uses_tabs = any("\t" in indentation_of(line) for line in inner)
    if step not in (2, 4, 8) or any(each % step for each in steps) or (step == width and uses_tabs == (unit == "\t")):
        return text
    made = lines[:1]
    for line in lines[1:]:
        levels = (columns(indentation_of(line)) - columns(base)) // step
        made.append(
            (base + unit * levels if levels >= 0 else indentation_of(line)) + line.lstrip() if line.strip() else ""
        )
    return "\n".join(made)


def is_misplaced(text: str, spot: Spot) -> bool:
    """Whether the text's first line begins at a column that is neither the block's nor one that a dedent could give."""
    if not spot.automatic or spot.line_state.inside or not (spot.is_python or spot.has_braces):
        return False
    column = columns(spot.before + indentation_of(text))
    above, below = spot.line_above, spot.line_below
    if not above or (column == columns(indentation_of(above)) and not _opens(above, spot)):
        return False
    if spot.line_state.open and spot.line_state.open[-1] in "([":
        return False  # continuation lines are aligned in many ways
    if column < columns(indentation_of(below)) and column < columns(indentation_of(above)):
        return True  # the block goes on below
    return column not in _expected(spot) and not _LABEL.match(text.lstrip())


def _opens(line: str, spot: Spot) -> bool:
    """Whether the next line is inside a block that this one begins."""
    return line.endswith(":") if spot.is_python else line.endswith(tuple("([{"))


def _expected(spot: Spot) -> set[int]:
    """The columns of the block at the cursor, and in a language that knows no closing signs those of the blocks around it."""
    above = spot.line_above
    column = columns(indentation_of(above))
    if _opens(above, spot):
        below = columns(indentation_of(spot.line_below))
        steps = {columns(spot.unit)} if spot.unit else {2, 4, 8}
        return {column + step for step in steps} | ({below} if below > column else set())
    found = {column}
    for number in range(spot.line - 1, -1, -1):
        if not column:
            break
        line = spot.lines[number]
        if line[:column].strip() and (other := columns(indentation_of(line))) < column:
            column = other
            if spot.has_braces and line.rstrip().endswith("{"):
                break  # only its bracket goes back to it
            found.add(column)
    return found
