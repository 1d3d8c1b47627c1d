"""Suggestions that can be known to be wrong by the text around the cursor, without a model.

One function for each kind; it gets what would be inserted and returns whether it is nonsense. `KINDS` has their names.
Must not know: how a text is fitted into the line, or who made it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from green_code.lsp.spot import Spot, columns, indentation_of

_FIRST_WORD: Final = re.compile(r"\w+")
_SUBWORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ENDINGS: Final = frozenset(["s", "es", "d", "ed", "ing", "ly"])
_DEFINES: Final = re.compile(
    r"\b(?:as|class|const|def|enum|fn|for|func|function|import|interface|let|mod|namespace|package|struct|trait|type|var)\s+\w*\Z"
)
_DECLARED: Final = re.compile(r"(?<![\w>\]])([\w>\]]+)(?:\s+[*&]*|[*&]+\s*)\w+\Z")
_BEFORE_VALUES: Final = frozenset(
    ["await", "case", "delete", "else", "go", "in", "new", "of", "return", "throw", "typeof", "yield"]
)
_RUN: Final = re.compile(r"(\d)\1{8,}|(\d)\2{6,}\Z")
_SHORT_WORD: Final = 3
_FINISHED: Final = 6
"""Characters of a line that say that it is the same line again; `pass` and `});` are written often."""

_PYTHON_SIGNS: Final = re.compile(
    r"(?m)^\s*(?:def \w+\(|elif\b|except\b|from \S+ import\b|async def\b|(?:if|for|while|class|with|try|else)\b[^{;]*:$|# )"
    r"|\bself\.|\bis (?:not )?None\b|\bNone\b|\bTrue\b|\bFalse\b"
)
_BRACE_SIGNS: Final = re.compile(
    r"(?m)^\s*(?:(?:const|let|var|function|public|private|func)\s+\w|\}|//)|\)\s*\{$|;$|&&|\|\||\bnull\b|\bthis\.|=> ?\{"
)

_LANGUAGE: Final = 10
"""Keywords that data formats do not have."""

_PYTHON_JUMP: Final = re.compile(r"(?:return|yield|break|continue)\b")


def continues_a_keyword(text: str, spot: Spot) -> bool:
    """A finished keyword goes on: `return` with `um`. A short one may begin a word, if what it goes on with is none itself."""
    word, first = spot.word, _FIRST_WORD.match(text)
    if not spot.in_code or first is None or word not in spot.language.keywords or spot.before.endswith(f".{word}"):
        return False
    whole = word + first.group()
    if whole in spot.language.keywords or whole in spot.known(whole):
        return False
    return (
        len(word) > _SHORT_WORD or first.group() in spot.language.keywords or first.group() in spot.known(first.group())
    )


def invents_a_name(text: str, spot: Spot) -> bool:
    """A word that begins like some of the file's goes on unlike all of them."""
    word, first = spot.word, _FIRST_WORD.match(text)
    if not spot.in_code or first is None or len(word) < _SHORT_WORD or word[0].isdigit():
        return False
    if spot.before[: -len(word)].endswith(".") or _DEFINES.search(spot.before) or _is_import(spot):
        return False
    declared = _DECLARED.search(spot.before) if spot.has_braces else None
    if declared is not None and declared.group(1) not in _BEFORE_VALUES:
        return False
    known, whole = spot.known(word), word + first.group()
    behind = text[first.end() :].lstrip()
    is_new = behind.startswith("(") or re.match(r"(?::[^=]*)?=(?!=)", behind) is not None
    return bool(known) and whole not in known and whole not in spot.language.keywords and not is_new


def _is_import(spot: Spot) -> bool:
    imports = spot.language.imports
    return imports is not None and imports.match(spot.before.lstrip()) is not None


def glues_words(text: str, spot: Spot) -> bool:
    """In prose, a word that is finished goes on as another: `Count` with `ers`, where the code has `count` and no `counters`."""
    word, first = spot.word, _FIRST_WORD.match(text)
    if spot.in_code or first is None or not word[:1].isupper() or len(word) <= _SHORT_WORD or first.group() in _ENDINGS:
        return False
    near = "".join(spot.lines[max(0, spot.line - 40) : spot.line]) + spot.below[:2000]
    known = {part.lower() for part in _SUBWORD.findall(near)}
    return word.lower() in known and (word + first.group()).lower() not in known


def runs_on(text: str, spot: Spot) -> bool:
    """One digit again and again."""
    return _RUN.search(text) is not None


def repeats_a_line(text: str, spot: Spot) -> bool:
    """The line would be the one above or below again, or what is finished before the cursor is offered again."""
    lines = text.split("\n")
    made = (spot.before + lines[0]).strip()
    offered = next((line.strip() for line in lines if line.strip()), "")
    written = spot.before.strip()
    if len(offered) >= _FINISHED and offered == written:
        return True
    beside = {spot.line_above.strip(), spot.line_below.strip()}
    return len(made) >= _FINISHED and any(map(str.isalpha, made)) and made in beside and not spot.rest


def speaks_another_language(text: str, spot: Spot) -> bool:
    """Python where braces enclose blocks, or the other way round; what the file itself has is its language."""
    if not spot.in_code or len(spot.language.keywords) < _LANGUAGE or not (spot.is_python or spot.has_braces):
        return False
    signs = _BRACE_SIGNS if spot.is_python else _PYTHON_SIGNS
    begun = len(spot.before)
    found = [match.group().strip() for match in signs.finditer(spot.before + text) if match.end() > begun]
    around = spot.above + spot.before + spot.after + spot.below if found else ""
    return any(sign not in around for sign in found)


def jumps_from_nowhere(text: str, spot: Spot) -> bool:
    """Python's `return` and the like in the first column."""
    return spot.is_python and not spot.before and _PYTHON_JUMP.match(text) is not None


_BRANCHES: Final = {
    "elif": ("if", "elif"),
    "else": ("if", "elif", "for", "while", "except", "try", "async"),
    "except": ("try", "except"),
    "finally": ("try", "except", "else"),
}


def branches_from_nothing(text: str, spot: Spot) -> bool:
    """Python's `else` and the like where the column has no beginning for it."""
    first = _FIRST_WORD.match(text)
    if not spot.is_python or not spot.is_blank or not spot.in_code or first is None:
        return False
    if (beginnings := _BRANCHES.get(first.group())) is None:
        return False
    column = columns(spot.before)
    for number in range(spot.line - 1, -1, -1):
        line = spot.lines[number]
        if line.strip() and columns(indentation_of(line)) <= column:
            found = _FIRST_WORD.match(line.strip())
            if columns(indentation_of(line)) == column and found is None:
                continue  # a bracket that closes
            return columns(indentation_of(line)) < column or found is None or found.group() not in beginnings
    return True


KINDS: Final[dict[str, Callable[[str, Spot], bool]]] = {
    "keyword_continued": continues_a_keyword,
    "unknown_name": invents_a_name,
    "words_glued": glues_words,
    "digits": runs_on,
    "repeated_line": repeats_a_line,
    "other_language": speaks_another_language,
    "jump_from_nowhere": jumps_from_nowhere,
    "branch_from_nothing": branches_from_nothing,
}
