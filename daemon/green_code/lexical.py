"""What text means lexically: brackets, strings and comments of a language, read from the left with a small state.

One table has what differs between languages; a language that it lacks is read as C is. It is no grammar: a place where a
language needs one (a regular expression after `/`, a lifetime) has a pattern of its own.
Must not know: documents, cursors or models.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

OPENERS: Final = "([{"
CLOSERS: Final = ")]}"
CLOSER_OF: Final = {"(": ")", "[": "]", "{": "}", "${": "}"}
_OPENER_OF: Final = {")": ("(",), "]": ("[",), "}": ("{", "${")}

LINE_COMMENT: Final = "//"
"""The state's `inside` in a comment that ends with its line."""

_PYTHON_WORDS: Final = (
    "False None True and as assert async await break class continue def del elif else except finally for from global if "
    "import in is lambda nonlocal not or pass raise return try while with yield"
)
_C_WORDS: Final = "break case char const continue default do double else enum float for goto if int long return short signed sizeof static struct switch typedef union unsigned void while"
_JAVA_WORDS: Final = (
    "abstract boolean break byte case catch char class const continue default do double else enum extends false final finally float for if implements "
    "import instanceof int interface long native new null package private protected public return short static super switch this throw throws true try void while"
)
_JS_WORDS: Final = (
    "async await break case catch class const continue default delete do else export extends false finally for function if import in instanceof let "
    "new null return super switch this throw true try typeof undefined var void while yield"
)
_TS_WORDS: Final = (
    f"{_JS_WORDS} any boolean enum implements interface keyof namespace never number readonly string type unknown"
)
_GO_WORDS: Final = (
    "break case chan const continue default defer else fallthrough false for func go goto if import interface map nil package range return select "
    "struct switch true type var"
)
_RUST_WORDS: Final = (
    "as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut pub ref return self static "
    "struct super trait true type unsafe use where while"
)
_CPP_WORDS: Final = (
    f"{_C_WORDS} auto bool catch class constexpr delete explicit false friend inline namespace new noexcept nullptr operator override private protected "
    "public template this throw true try typename using virtual"
)
_CS_WORDS: Final = (
    f"{_JAVA_WORDS} as async await base bool decimal delegate event foreach get in internal is lock namespace object out override params readonly ref "
    "sealed set string struct using var virtual where"
)


@dataclass(frozen=True)
class Lexis:
    """The words and signs of a language. `blocks`: "{" where braces enclose blocks, ":" where indentation does, or nothing."""

    words: frozenset[str] = frozenset()
    line_comments: tuple[str, ...] = ("//",)
    block_comments: tuple[tuple[str, str], ...] = (("/*", "*/"),)
    quotes: tuple[str, ...] = ('"', "'")  # of strings on one line
    long_quotes: tuple[str, ...] = ()  # of strings that may have several
    skipped: str = ""  # a pattern that is read as one sign, such as a character literal
    blocks: str = "{"
    brackets: bool = True
    ends_statements: bool = False  # with a semicolon, always

    @property
    def is_prose(self) -> bool:
        """Whether brackets and quotes are punctuation."""
        return not self.brackets


_CHARACTER: Final = r"'(?:\\[^\n]{1,9}?|[^'\\\n])'"
_REGEX: Final = r"(?:(?<=[(,=:\[!&|?{};>])|(?<=return))[ \t]*/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/\w*"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PYTHON: Final = Lexis(_words(_PYTHON_WORDS), ("#",), (), ('"', "'"), ('"""', "'''"), blocks=":")
_C: Final = Lexis(_words(_C_WORDS), skipped=_CHARACTER, ends_statements=True)
_JS: Final = Lexis(_words(_JS_WORDS), long_quotes=("`",), skipped=_REGEX)
_TS: Final = replace(_JS, words=_words(_TS_WORDS))
_JAVA: Final = replace(_C, words=_words(_JAVA_WORDS), long_quotes=('"""',))
_CPP: Final = replace(_C, words=_words(_CPP_WORDS), skipped=rf"{_CHARACTER}|(?<=\d)'(?=\d)|R\"\([^)]*\)\"")
_CS: Final = replace(_C, words=_words(_CS_WORDS), long_quotes=('"""',), skipped=rf"{_CHARACTER}|@\"(?:[^\"]|\"\")*\"")
_GO: Final = Lexis(_words(_GO_WORDS), quotes=('"',), long_quotes=("`",), skipped=_CHARACTER)
_RUST: Final = Lexis(
    _words(_RUST_WORDS),
    quotes=(),
    long_quotes=('"',),
    skipped=rf"{_CHARACTER}|'[a-z_]\w*|r#\"(?:[^\"]|\"(?!#))*\"#",
    ends_statements=False,
)
_SHELL: Final = Lexis(
    _words("case do done elif else esac exit export fi for function if in local return then until while"),
    ("#",),
    (),
    (),
    ('"', "'"),
    skipped=r"\$#|\$\{#",
    blocks="",
    brackets=False,
)
_PROSE: Final = Lexis(line_comments=(), block_comments=(), quotes=(), blocks="", brackets=False)
_DATA: Final = Lexis(line_comments=(), block_comments=(), quotes=('"',), blocks="")

LANGUAGES: Final[dict[str, Lexis]] = {
    "python": _PYTHON,
    "java": _JAVA,
    "kotlin": replace(_JAVA, ends_statements=False),
    "scala": replace(_JAVA, ends_statements=False),
    "groovy": replace(_JAVA, ends_statements=False),
    "javascript": _JS,
    "javascriptreact": _JS,
    "typescript": _TS,
    "typescriptreact": _TS,
    "go": _GO,
    "rust": _RUST,
    "c": _C,
    "cpp": _CPP,
    "cuda-cpp": _CPP,
    "objective-c": _C,
    "csharp": _CS,
    "swift": replace(_JS, long_quotes=('"""',), skipped="", quotes=('"',)),
    "dart": replace(_JAVA, words=_JS.words, long_quotes=('"""', "'''"), skipped=""),
    "php": replace(_JS, line_comments=("//", "#"), skipped="", long_quotes=('"', "'"), quotes=(), ends_statements=True),
    "ruby": Lexis(
        _words("begin class def do else elsif end ensure false if module nil rescue return self true unless until while yield"), ("#",), (), blocks=""
    ),
    "shellscript": _SHELL,
    "powershell": replace(_SHELL, brackets=True),
    "makefile": _SHELL,
    "dockerfile": _SHELL,
    "yaml": Lexis(line_comments=("#",), block_comments=(), quotes=(), blocks="", brackets=False),
    "toml": Lexis(line_comments=("#",), block_comments=(), long_quotes=('"""', "'''"), blocks=""),
    "json": _DATA,
    "jsonc": replace(_DATA, line_comments=("//",), block_comments=(("/*", "*/"),)),
    "jsonl": _DATA,
    "css": Lexis(line_comments=()),
    "scss": Lexis(),
    "less": Lexis(),
    "sql": Lexis(line_comments=("--",), quotes=("'", '"'), blocks=""),
    "lua": Lexis(_words("and break do else elseif end false for function if in local nil not or repeat return then true until while"), ("--",), (), blocks=""),
    "r": Lexis(_words("else for function if in next repeat return while TRUE FALSE NULL"), ("#",), ()),
    "html": replace(_PROSE, block_comments=(("<!--", "-->"),)),
    "xml": replace(_PROSE, block_comments=(("<!--", "-->"),)),
    "vue": _PROSE,
    "svelte": _PROSE,
    "markdown": _PROSE,
    "plaintext": _PROSE,
    "latex": _PROSE,
    "restructuredtext": _PROSE,
}  # fmt: skip
"""By the editor's names."""

_OTHER: Final = Lexis()


def lexis_of(language: str) -> Lexis:
    """A language's, by the editor's name."""
    return LANGUAGES.get(language, _OTHER)


class State(NamedTuple):
    """Where reading stands: the open brackets, and the quote or the end of the comment in which it is ("": in code).

    `faults` counts brackets that nothing opened or closed and strings that did not end.
    """

    open: tuple[str, ...] = ()
    inside: str = ""
    faults: int = 0

    @property
    def in_comment(self) -> bool:
        return self.inside in (LINE_COMMENT, "*/", "-->")

    @property
    def in_string(self) -> bool:
        return bool(self.inside) and not self.in_comment

    def at_end(self) -> int:
        """Faults if the text ends here."""
        return self.faults + len(self.open) + (self.in_string or self.inside in ("*/", "-->"))


def read(text: str, lexis: Lexis, state: State = State()) -> State:
    """The state behind a text that is read in `state`. Lines end with \\n."""
    signs = _signs(lexis)
    stack, inside, faults = list(state.open), state.inside, state.faults
    comments = dict(lexis.block_comments)
    place = 0
    while sign := signs.search(text, place):
        written, place = sign.group(), sign.end()
        if inside:
            if written == "\n":
                if inside == LINE_COMMENT:
                    inside = ""
                elif inside in lexis.quotes and inside not in lexis.long_quotes:
                    inside, faults = "", faults + 1
            elif written == inside:
                inside = ""
            elif inside == "`" and written == "${":
                stack.append(written)
                inside = ""
            elif len(written) > 1 and not written.startswith("\\"):
                place = sign.start() + _end_inside(written, inside)
                if written.startswith(inside) and inside not in (LINE_COMMENT,):
                    inside, place = "", sign.start() + len(inside)
        elif written in lexis.line_comments:
            inside = LINE_COMMENT
        elif written in comments:
            inside = comments[written]
        elif written in lexis.long_quotes or written in lexis.quotes:
            inside = written
        elif written in OPENERS:
            stack.append(written)
        elif written == "${":
            stack.append("{")
        elif written in CLOSERS:
            inside, faults = _close(stack, written, faults)
    return State(tuple(stack), inside, faults)


def _end_inside(written: str, inside: str) -> int:
    """How far a sign of several characters is read inside a string or comment: what may end that is looked for in it."""
    found = written.find(inside, 1) if inside != LINE_COMMENT else -1
    newline = written.find("\n", 1)
    return min((end for end in (found, newline) if end > 0), default=1)


def _close(stack: list[str], closer: str, faults: int) -> tuple[str, int]:
    """Close the innermost bracket of that kind; those inside it were never closed. A template goes on behind `${…}`."""
    for back in range(1, min(len(stack), 8) + 1):
        if stack[-back] in _OPENER_OF[closer]:
            opener = stack[-back]
            del stack[-back:]
            return "`" if opener == "${" else "", faults + back - 1
    return "", faults + 1


@functools.lru_cache
def _signs(lexis: Lexis) -> re.Pattern[str]:
    fixed = {*lexis.line_comments, *(sign for pair in lexis.block_comments for sign in pair), *lexis.long_quotes, *lexis.quotes, "\n"}
    if lexis.brackets:
        fixed |= {*OPENERS, *CLOSERS}
    if "`" in lexis.long_quotes:
        fixed.add("${")
    longest_first = sorted(fixed, key=len, reverse=True)
    alternatives = [r"\\[^\n]", *([lexis.skipped] if lexis.skipped else []), *map(re.escape, longest_first)]
    return re.compile("|".join(alternatives))
