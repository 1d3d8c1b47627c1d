"""The parts of CodeBLEU that a fragment of code has (Ren et al., arXiv 2009.10297), never averaged.

The n-gram part is BLEU (`metrics.bleu`). Here: n-grams with keywords weighted by five, and syntax match. The data-flow part
is left out: the rest of a line rarely uses a variable that it defines, and the published code then gives full marks. Syntax
match has a floor: a parser repairs any text, so junk shares small trees with everything.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence

from tree_sitter import Language, Node, Parser

from green_code.languages import language_of

KEYWORD_WEIGHT = 5.0
_ORDERS = 4


def weighted_bleu(words: Sequence[str], reference: Sequence[str], language: str) -> float:
    """Equation 2 of the paper, 0 … 100: BLEU with weighted unigrams; orders longer than the text are left out."""
    if not words or not reference:
        return 100.0 * (list(words) == list(reference))
    keywords = language_of(language).keywords
    logarithms = []
    for order in range(1, min(_ORDERS, len(words)) + 1):
        found, wanted = _ngrams(words, order), _ngrams(reference, order)
        weights = {gram: KEYWORD_WEIGHT if order == 1 and gram[0] in keywords else 1.0 for gram in found}
        right = sum(weights[gram] * min(count, wanted[gram]) for gram, count in found.items())
        if not right:
            return 0.0
        logarithms.append(math.log(right / sum(weights[gram] * count for gram, count in found.items())))
    brevity = min(0.0, 1 - len(reference) / len(words))
    return 100 * math.exp(brevity + math.fsum(logarithms) / len(logarithms))


def syntax_match(text: str, reference: str, language: str) -> float | None:
    """Equation 4 of the paper, 0 … 1: the share of the reference's subtrees, without leaf text, that `text` has.

    None where the reference has none, or the language has no grammar here.
    """
    if (parser := _parser(language)) is None:
        return None
    wanted = Counter(_trees(parser.parse(reference.encode()).root_node))
    if not wanted:
        return None
    found = Counter(_trees(parser.parse(text.encode()).root_node))
    return sum((found & wanted).values()) / wanted.total()


@functools.cache
def _parser(language: str) -> Parser | None:
    """With the grammar of the language's row."""
    if (grammar := language_of(language).grammar.get(language)) is None:
        return None
    module, function = grammar
    return Parser(Language(getattr(importlib.import_module(module), function)()))


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def _trees(root: Node) -> Iterator[str]:
    """Every node with named children below the root, as an S-expression of kinds."""
    waiting = list(root.named_children)
    while waiting:
        node = waiting.pop()
        if node.named_child_count:
            yield str(node)
            waiting += node.named_children
