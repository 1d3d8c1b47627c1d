"""Rows to complete: our own format, CodeXGLUE's, and lines cut out of held-out source.

A row is {id, language, prefix, suffix, reference}. CodeXGLUE's line-completion rows are {input, gt}: tokens separated by
spaces, `<EOL>`, `<STR_LIT:…>`, Python without its indentation. `source_text` turns them back into something like source;
they are scored in the tokenised form (`metrics.py`).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from green_code.problems import Problem
from green_code_lab.corpus.evaluation_rows import language_of

LITERAL = re.compile(r"""([\"']?)<(STR|NUM|CHAR)_LIT(?::(.*?))?>\1""")
_NO_SPACE_BEFORE = set(",.;:)]}") | {"(", "[", "++", "--"}
_NO_SPACE_AFTER = set("([{.@!~") | {"++", "--"}
_KEYWORDS_AND_OPERATORS = (
    "if while for switch catch return in and or not = == + - , print import from else is yield assert synchronized"
)
_SPACE_BEFORE_BRACKET = set(_KEYWORDS_AND_OPERATORS.split())
_DEDENT = ("else", "elif", "except", "finally")
_ENDS_BLOCK = ("return", "raise", "break", "continue", "pass")


@dataclass(frozen=True)
class Row:
    """One completion to make. `tokenised`: the reference is in CodeXGLUE's form."""

    id: str
    language: str
    prefix: str
    suffix: str
    reference: str
    tokenised: bool = False


def load_rows(path: Path, language: str | None = None) -> list[Row]:
    """Read a .jsonl or .jsonl.gz file of either form. `language`: of CodeXGLUE's rows; by default from the path.

    Raises Problem where the file cannot be read, its language is unknown, or a row lacks a field (its line is named).
    """
    opener: Any = gzip.open if path.suffix == ".gz" else open
    rows = []
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    rows.append(_row(json.loads(line), path, number, language))
    except (OSError, ValueError) as error:
        raise Problem("bad_request", f"{path} cannot be read as JSON lines ({error}).") from error
    return rows


def _row(data: dict[str, Any], path: Path, number: int, language: str | None) -> Row:
    if "input" in data and "gt" in data:
        language = language or language_of(path)
        prefix = source_text(data["input"], language)
        return Row(f"{path.name.split('.')[0]}-{number}", language, prefix, "", data["gt"], tokenised=True)
    fields = ("language", "prefix", "suffix", "reference")
    texts = {"suffix": "", **data}
    if wrong := [key for key in fields if not isinstance(texts.get(key), str)]:
        raise Problem(
            "bad_request",
            f"{path}, line {number}: no text in {wrong[0]!r}; rows are {{id, language, prefix, suffix, reference}}.",
        )
    return Row(str(data.get("id", number)), *(texts[key] for key in fields))


def rows_digest(rows: Sequence[Row], *more: str) -> str:
    """A short digest of these rows and whatever else results depend on."""
    return hashlib.sha256(repr((rows, more)).encode(errors="surrogatepass")).hexdigest()[:12]


def source_text(tokens: str, language: str) -> str:
    """CodeXGLUE's tokens as source text: usual spacing, literals filled in, Python indented by its keywords.

    Indentation is a guess (it is not in the data): one level more after `:`, one less after `return` and the like and
    before `else` and the like, four spaces for methods (first parameter self or cls), none for other definitions.
    """
    text = tokens.removeprefix("<s>").strip()
    if language != "python":
        return _java(text)
    lines, result, depth, block_ended = [line.strip() for line in text.split("<EOL>")], [], 0, False
    for i, line in enumerate(lines):
        words = line.split()
        first = words[0] if words else ""
        if first in ("def", "class", "@"):
            owner = next((x for x in lines[i:] if x.startswith(("def", "class"))), line)
            depth = 1 if re.match(r"def \w+ \( (self|cls)\b", owner) else 0
        elif first in _DEDENT and not block_ended:
            depth = max(0, depth - 1)
        result.append("    " * depth + _space(words))
        block_ended = first in _ENDS_BLOCK
        depth = depth + 1 if line.endswith(":") else max(0, depth - block_ended)
    return "\n".join(result)


def _java(tokens: str) -> str:
    """Line breaks after `;`, `{` and `}`, indentation by braces."""
    lines: list[str] = []
    words: list[str] = []
    depth = round_depth = 0
    all_words = tokens.split()
    for word, following in zip(all_words, [*all_words[1:], ""], strict=True):
        round_depth += (word == "(") - (word == ")")
        if word == "}":
            depth = max(0, depth - 1)
        words.append(word)
        closes = word == "}" and following not in (";", ",", ")", ".")
        if word == "{" or closes or (word == ";" and round_depth <= 0):
            level = depth
            depth += word == "{"
            lines.append("    " * level + _space(words))
            words = []
    return "\n".join([*lines, "    " * depth + _space(words)])


def _space(words: list[str]) -> str:
    out, before = "", ""
    for raw in words:
        word = LITERAL.sub(_literal, raw)
        glue = not before or word in _NO_SPACE_BEFORE or before in _NO_SPACE_AFTER
        if word in ("(", "[", "{") and before in _SPACE_BEFORE_BRACKET:
            glue = False
        out += word if glue else f" {word}"
        before = word
    return out


def _literal(match: re.Match[str]) -> str:
    quote, kind, value = match[1], match[2], (match[3] or "").replace("U+0020", " ")
    if kind == "NUM":
        return value or "0"
    quote = quote or ("'" if kind == "CHAR" else '"')
    return f"{quote}{value}{quote}"


def line_rows(documents: Iterator[tuple[str, str]], per_language: int, seed: int) -> list[Row]:
    """Cut (language, text) documents at random places within a line: the rest of the line is the reference."""
    generator, counts, rows = random.Random(seed), dict[str, int](), list[Row]()
    for language, text in documents:
        lines = text.split("\n")
        usable = [i for i, line in enumerate(lines) if i > 5 and 12 < len(line.strip()) < 100]
        if not usable or counts.get(language, 0) >= per_language:
            continue
        i = generator.choice(usable)
        line = lines[i]
        indent = len(line) - len(line.lstrip())
        cut = generator.randrange(indent, len(line) - 4)
        prefix = "\n".join(lines[:i]) + "\n" + line[:cut]
        suffix = "\n" + "\n".join(lines[i + 1 :])
        counts[language] = counts.get(language, 0) + 1
        rows.append(Row(f"{language}-{counts[language]}", language, prefix, suffix, line[cut:]))
    return rows
