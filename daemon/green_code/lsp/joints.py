"""Whether a text joins what is before and behind it: two operands need something between them, and an operator needs two.

Must not know: what is replaced, or which suggestion it is.
"""

from __future__ import annotations

import re
from typing import Final

from green_code.lexical import State, is_word
from green_code.lsp.spot import Spot, columns, indentation_of

_LOOSE: Final = re.compile(
    r"(?:(?<![=!<>+\-*/%&|^~:?])[=~]|[-+*/%&|^:!<>=]=|=>|->|(?<!\+)\+|(?<!-)-|(?<=\s)<|&&|\|\||[,@\\]|(?<!\.)\.|\?\?"
    r"|(?<![\w.])(?:and|or|not|in|is|if|elif|while|for|def|class|import|from|as|with|lambda|del|new|extends|implements"
    r"|instanceof|typeof|func|fn|let|var|const|namespace|package|await|async|raise|throw|assert|struct|enum|interface|function"
    r"|public|private|protected|static))\Z"
)
_WORD: Final = re.compile(r"\w+")
_LAST_WORD: Final = re.compile(r"(?<![\w.])[\w.]*\w\Z")
_PYTHON_STATEMENTS: Final = re.compile(
    "def|class|return|while|with|try|raise|pass|break|continue|del|global|nonlocal|assert|import|except|finally|elif"
)
_BRACE_STATEMENTS: Final = re.compile(
    "return|while|switch|break|continue|throw|try|do|for|package|import|public|private|protected|func|type|defer|go|goto"
)
"""Words that begin a statement and stand in no expression."""
_BEFORE_STATEMENTS: Final = (
    ";",
    "{",
    "}",
    ":",
    ")",
    ">",
    "else",
    "do",
    "*/",
    "export",
    "async",
    "static",
    "final",
    "abstract",
)
_BINARY_WORDS: Final = re.compile(
    "and|or|not|in|is|if|else|for|as|from|import|async|instanceof|extends|implements|of|where|throws"
)


def without_loose_end(text: str, spot: Spot, state: State, rest: str) -> str:
    """The text without an operator, or a word that needs another, at its end; the next line may go on with it."""
    if state.inside or not spot.language.keywords:
        return text
    if rest.strip():
        if rest.lstrip()[0] not in ")]};:,":
            return text
    elif (state.open and (state.open[-1] in ("(", "[") or text.endswith(","))) or _goes_on_below(spot):
        return text
    while loose := _LOOSE.search(text):
        text = text[: loose.start()].rstrip()
    return text


def _goes_on_below(spot: Spot) -> bool:
    return columns(indentation_of(spot.line_below)) > columns(indentation_of(spot.lines[spot.line]))


def completions(text: str, spot: Spot, ends_line: bool) -> list[str]:
    """The text, and as it is with the sign that ends a statement or begins a block."""
    if not ends_line or not spot.in_code or text[-1] in ",;:({[":
        return [text]
    if spot.language.semicolons:
        return [text, f"{text};"]
    return [text, f"{text}:"] if spot.is_python else [text]


def hold(text: str, spot: Spot, rest: str, ends_in_code: bool) -> bool:
    """Whether a text joins the line before it and the rest behind it."""
    if is_word(text[-1:]) and is_word(rest[:1]):
        return False
    if not spot.language.keywords:
        return True
    return (not spot.in_code or _joins_before(text, spot)) and (not ends_in_code or _joins_behind(text, spot, rest))


def _joins_before(text: str, spot: Spot) -> bool:
    before, first = spot.before.rstrip(), _WORD.match(text.lstrip())
    if not before:
        return True
    has_gap = spot.before != before or text[:1].isspace()
    if first is None:
        return not (
            before.endswith(".") and not before.endswith("..") and not text[:1].isspace() and text[:1] in "\"'`])},;:=+"
        )
    word = first.group()
    if is_word(before[-1]) and not has_gap:
        return True  # the word goes on
    last = _LAST_WORD.search(before)
    ends_operand = before[-1] in ")]}" or (last is not None and last.group() not in spot.language.keywords)
    if _begins_statement(word, spot) and text[:1] != "\n":
        if spot.is_python:
            return (
                before.endswith((":", ";"))
                or (word == "import" and before.lstrip().startswith("from"))
                or before == "async"
            )
        return before.endswith(_BEFORE_STATEMENTS) or (word == "import" and before.endswith("="))
    if spot.is_python and ends_operand and "\n" not in text[:1]:
        return _BINARY_WORDS.fullmatch(word) is not None and (has_gap or before[-1] in ")]}")
    return not (before[-1] in "])" and not has_gap and not spot.has_braces)


def _begins_statement(word: str, spot: Spot) -> bool:
    words = _PYTHON_STATEMENTS if spot.is_python else _BRACE_STATEMENTS
    return (spot.is_python or spot.has_braces) and words.fullmatch(word) is not None


def _joins_behind(text: str, spot: Spot, rest: str) -> bool:
    core = rest.strip()
    if not core:
        return True
    first, last = _WORD.match(core), _LAST_WORD.search(text)
    if _LOOSE.search(text) and core[0] in ")]};:,=.+*/":
        return False
    if (text[-1] in "([{" and core[0] in ",;.=") or (text[-1] == ":" and core[0] in ",)};"):
        return False
    if first is None or not spot.is_python:
        return not (text.endswith(";") and core[0] in "),;.")
    ends_operand = text[-1] in ")]}\"'" or (last is not None and last.group() not in spot.language.keywords)
    return not ends_operand or _BINARY_WORDS.fullmatch(first.group()) is not None
