"""A request at a cursor, and the suggestion that answers it.

Must not know: how a suggestion is made, or when it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from green_code.link.messages import CompletionParams, CompletionResult
from green_code.lsp.documents import Encoding, units_of
from green_code.lsp.insertion import Insertion, fit
from green_code.lsp.open_document import OpenDocument
from green_code.lsp.spot import Spot


class Suggestion(CompletionResult):
    """A completion as it is inserted: its text takes the place of the next `replaced` units of the cursor's line, in the client's
    encoding, which it contains. `others`: the alternatives' texts, each with what it takes the place of."""

    replaced: int
    others: list[tuple[str, int]]


@dataclass(frozen=True)
class Cursor:
    """A cursor in a document, with the request for the engine.

    Args:
        spot: the text around it, as it was when the request came.
        changes: how often the document had been edited then.
        beside_list: it is behind an entry of the editor's list that is not in the document.
    """

    entry: OpenDocument
    line: int
    index: int
    automatic: bool
    params: CompletionParams
    spot: Spot
    changes: int
    beside_list: bool


def suggestion_of(
    result: CompletionResult, fitted: Insertion, cursor: Cursor, encoding: Encoding
) -> tuple[Suggestion, list[Insertion]]:
    """The suggestion with those alternatives that fit and leave another line; and how each is inserted, the first included."""
    after, left = cursor.spot.after, dict[str, Insertion]()
    for each in (fitted, *(fit(text, cursor.spot) for text in result["alternatives"])):
        if isinstance(each, Insertion):
            left.setdefault(each.text + after[each.replaced :], each)
    (_, replaced), *others = ((each.text, units_of(after[: each.replaced], encoding)) for each in left.values())
    return Suggestion(**result, replaced=replaced, others=others), list(left.values())
