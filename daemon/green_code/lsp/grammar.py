"""How many errors a language's grammar finds in the text around a cursor: the last check of an insertion.

The grammars are tree-sitter's, loaded when a language is first needed (a few milliseconds, 1 to 4 MB each). A language without
one has no check.
Must not know: what is inserted, or why.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, Final

from green_code.languages import language_of
from green_code.lsp.spot import Spot

PARSED: Final = 10_000
"""Characters before and behind the cursor's line that are parsed at most, in 4 to 8 ms each time. With half of it, an error far
away is missed at one place in some thousands."""
LONGEST_LINE: Final = 1_000
"""A longer line is not parsed: finding errors in one of 9,000 characters takes up to half a second."""
_WINDOW: Final = (PARSED, LONGEST_LINE)

READABLE: Final = 100
"""Text with more errors is not what the grammar is made for, such as another dialect; it has no say then. One open bracket can make
some fifty."""


class SyntaxCheck:
    """Compares the text around one cursor with what it becomes; it is parsed at first need."""

    def __init__(self, spot: Spot) -> None:
        self._spot = spot
        is_long = len(spot.before) + len(spot.after) > LONGEST_LINE
        self._parser: Any = None if is_long else _parser(spot.language_id)
        above = spot.headers(spot.first_line(*_WINDOW)) + spot.lines_above(*_WINDOW)
        self._before = _encoded(above + spot.before)
        self._here = (above.count("\n"), len(_encoded(spot.before)))
        self._below = _encoded(spot.lines_below(*_WINDOW))

    def is_no_worse(self, text: str, replaced: int) -> bool:
        """Whether the grammar finds no more errors with `text` in place of the next `replaced` characters; True without a
        grammar, and where it cannot read the text around the cursor."""
        if self._parser is None:
            return True
        tree, errors = self._now
        if errors > READABLE:
            return True
        spot, (row, column), start = self._spot, self._here, len(self._before)
        old, new = len(_encoded(spot.after[:replaced])), len(_encoded(text))
        last = _encoded(text.rpartition("\n")[2])
        breaks = text.count("\n")
        tree = tree.copy()
        tree.edit(
            start, start + old, start + new, (row, column), (row, column + old), (row + breaks, len(last) + (0 if breaks else column))
        )  # fmt: skip
        source = self._before + _encoded(text + spot.after[replaced:]) + self._below
        if not self._parser.parse(source, tree).root_node.has_error:
            return True
        return (
            errors > 0 and _errors(self._parser.parse(source)) <= errors
        )  # what is reused hides errors, or keeps them

    @functools.cached_property
    def _now(self) -> tuple[Any, int]:
        tree = self._parser.parse(self._before + _encoded(self._spot.after) + self._below)
        return tree, _errors(tree)


def _encoded(text: str) -> bytes:
    """Lone surrogates, which editors may send, become question marks."""
    return text.encode(errors="replace")


def _errors(tree: Any) -> int:
    """The nodes of the tree that are errors or missing."""
    found, nodes = 0, [tree.root_node]
    while nodes:
        node = nodes.pop()
        found += node.is_error or node.is_missing
        if node.has_error:
            nodes.extend(node.children)
    return found


@functools.lru_cache
def _parser(language: str) -> Any:
    """None: there is no grammar, or it is not installed."""
    if (named := language_of(language).grammar.get(language)) is None:
        return None
    module, function = named
    try:
        import tree_sitter

        grammar = getattr(importlib.import_module(module), function)()
    except ImportError:
        return None
    return tree_sitter.Parser(tree_sitter.Language(grammar))
