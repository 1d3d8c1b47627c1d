"""Whatever the model writes, what Tab leaves parses no worse than before: tree-sitter finds no more errors in it.

Code is cut anywhere, and the model is played by the code itself: the true continuation, cut anywhere, also over several lines and
with what follows the cursor repeated; and lines from elsewhere. The code is the project's own, Python's library, and that of
`insertion_corpus/`, for languages that the project has none of.
"""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import tree_sitter
import tree_sitter_c
import tree_sitter_cpp
import tree_sitter_go
import tree_sitter_java
import tree_sitter_javascript
import tree_sitter_kotlin
import tree_sitter_lua
import tree_sitter_php
import tree_sitter_python
import tree_sitter_ruby
import tree_sitter_rust
import tree_sitter_typescript
from hypothesis import given
from hypothesis import strategies as st

from green_code.lsp.documents import split_lines
from green_code.lsp.insertion import Insertion, fit
from green_code.lsp.spot import Spot

ROOT = Path(__file__).parents[3]
CORPUS = Path(__file__).with_name("insertion_corpus")
LIBRARY = Path(sysconfig.get_paths()["stdlib"])
GRAMMARS = {
    "c": tree_sitter_c.language,
    "cpp": tree_sitter_cpp.language,
    "go": tree_sitter_go.language,
    "java": tree_sitter_java.language,
    "javascript": tree_sitter_javascript.language,
    "kotlin": tree_sitter_kotlin.language,
    "lua": tree_sitter_lua.language,
    "php": tree_sitter_php.language_php,
    "python": tree_sitter_python.language,
    "ruby": tree_sitter_ruby.language,
    "rust": tree_sitter_rust.language,
    "typescript": tree_sitter_typescript.language_typescript,
}
FILES = {
    "c": sorted((ROOT / "daemon/green_code/kernels").glob("*.[ch]")),
    "cpp": sorted(CORPUS.glob("*.cpp")),
    "go": sorted(CORPUS.glob("*.go")),
    "java": [*sorted((ROOT / "daemon/green_code/cli/samples").glob("*.java.txt")), *sorted(CORPUS.glob("*.java"))],
    "javascript": sorted((ROOT / "extension").rglob("*.mjs")),
    "kotlin": sorted(CORPUS.glob("*.kt")),
    "lua": sorted(CORPUS.glob("*.lua")),
    "php": sorted(CORPUS.glob("*.php")),
    "python": [
        *sorted((ROOT / "daemon/green_code/lsp").glob("*.py")),
        *(
            LIBRARY / name
            for name in ("textwrap.py", "bisect.py", "shlex.py", "heapq.py", "json/decoder.py", "queue.py")
        ),
    ],
    "ruby": sorted(CORPUS.glob("*.rb")),
    "rust": sorted(CORPUS.glob("*.rs")),
    "typescript": sorted((ROOT / "extension/src").rglob("*.ts")),
}
LARGEST = 30_000
"""Characters of a file; so 2,000 cuts take seconds."""


class Cut(NamedTuple):
    """A place in code, and what the model writes there; `next_text`: what the code has there."""

    language: str
    before: str
    after: str
    raw: str
    automatic: bool
    is_rest_of_line: bool  # the model writes what the line goes on with, which is not written yet

    @property
    def spot(self) -> Spot:
        lines = split_lines(self.before + self.after)
        return Spot(lines, self.before.count("\n"), len(self.line), self.language, self.automatic)

    @property
    def line(self) -> str:
        return self.before.rpartition("\n")[2]

    def after_tab(self, found: Insertion) -> str:
        return self.before + found.text + self.after[found.replaced :]


def cuts(count: int, seed: int) -> Iterator[Cut]:
    """So many in each language."""
    chance = random.Random(seed)
    for language, paths in FILES.items():
        texts = [path.read_text("utf-8") for path in paths]
        texts = [text for text in texts if 500 <= len(text) <= LARGEST and not errors(language, text)]
        assert sum(map(len, texts)) > 1_000, language
        lines = [line for text in texts for line in text.split("\n") if line.strip()]
        made = 0
        while made < count:
            text = chance.choice(texts)
            place = chance.randrange(1, len(text))
            cut = _cut(chance, language, text[:place], text[place:], lines)
            if not (_is_word(cut.before[-1]) and _is_word(cut.after[:1])):  # a guard refuses inside of words
                made += 1
                yield cut


def _cut(chance: random.Random, language: str, before: str, rest: str, lines: list[str]) -> Cut:
    line = rest.split("\n", 1)[0]
    written, missing = len(line), chance.randrange(len(line) + 1)
    kind = chance.choice(["line", "several", "part", "hole", "repeats", "elsewhere"])
    after, raw = rest[written:], line
    if kind == "several":
        raw = rest[: chance.randrange(1, 200)]
    elif kind == "part":
        raw = line[:missing]
    elif kind == "hole":
        after = rest[missing:]
    elif kind == "repeats":
        after, raw = rest[missing:], line[:missing] + rest[missing : missing + chance.randrange(80)]
    elif kind == "elsewhere":
        after, raw = rest[chance.choice([0, missing, written]) :], chance.choice(lines)
        raw = raw.strip() if chance.random() < 0.7 else raw
    return Cut(language, before, after, raw, chance.random() < 0.8, kind == "line")


def errors(language: str, text: str) -> int:
    """Nodes that are errors or missing."""
    parser = tree_sitter.Parser(tree_sitter.Language(GRAMMARS[language]()))
    found, nodes = 0, [parser.parse(text.encode()).root_node]
    while nodes:
        node = nodes.pop()
        found += node.is_error or node.is_missing
        nodes += node.children if node.has_error else []
    return found


def _is_word(character: str) -> bool:
    return character == "_" or character.isalnum()


@pytest.mark.parametrize("count", [50, pytest.param(250, marks=pytest.mark.slow)])
def test_what_tab_leaves_parses_no_worse_than_before(count: int) -> None:
    worse, shown = [], 0
    for cut in cuts(count, seed=31):
        found = fit(cut.raw, cut.spot)
        if isinstance(found, Insertion):
            shown += 1
            if errors(cut.language, cut.after_tab(found)) > errors(cut.language, cut.before + cut.after):
                worse.append((cut.language, cut.line, cut.after[:40], cut.raw, found))
    assert worse == []
    assert shown > count * len(FILES) / 2, "it does not refuse what may be shown"


def test_what_the_line_goes_on_with_is_shown_as_it_is() -> None:
    """At least 98 %, where there is something before the cursor; on a blank line Tab indents."""
    asked, unchanged = 0, 0
    for cut in cuts(150, seed=7):
        if cut.is_rest_of_line and cut.raw.strip() and cut.line.strip():
            asked += 1
            unchanged += fit(cut.raw, cut.spot) == Insertion(cut.raw.rstrip())
    assert asked > 100 and unchanged >= 0.98 * asked, (unchanged, asked)


SIGNS = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    '"',
    "'",
    "`",
    '"""',
    "${",
    "\\",
    "//",
    "/*",
    "*/",
    "#",
    "\n",
    "\t",
    "    ",
    "a",
    "return",
    "é",
    "😀",
    ":",
    ",",
    ".",
]
NOISE = st.lists(st.sampled_from(SIGNS), max_size=14).map("".join)


@given(NOISE, NOISE, NOISE, st.sampled_from([*GRAMMARS, "html", "plaintext", "yaml"]), st.booleans())
def test_what_replaces_can_be_shown_as_ghost_text(
    before: str, after: str, raw: str, language: str, automatic: bool
) -> None:
    """VS Code shows an inline completion if what it replaces is a subsequence of its text; and none ends in blanks."""
    spot = Cut(language, before, after, raw, automatic, False).spot
    found = fit(raw, spot)
    if isinstance(found, Insertion):
        assert found.text == found.text.rstrip() != ""
        characters = iter(found.text)
        assert all(character in characters for character in spot.after[: found.replaced])
