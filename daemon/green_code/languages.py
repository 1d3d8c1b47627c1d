"""Facts about languages that both the front and the engine need, once.

Must not know: models, editors, or what is done with a fact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Blocks = Literal["indent", "braces", "none"]


@dataclass(frozen=True)
class Language:
    """
    Args:
        ids: VS Code's language identifiers. suffixes: of files → identifier. grammar: identifier → module and function of
            tree-sitter's grammar. enabled: whether completions are on by default. line_comments: what begins a comment that ends with
            its line. block_comments: pairs of what begins and ends a comment. quotes: of strings that end with their line.
        long_quotes: of strings that may go over lines. literals: matches what is read as one sign, such as a character.
        keywords: reserved words. imports, definitions: match a line, without its indentation, that belongs to the head of a
            file, or that begins a function, a class, or an annotation of one.
        blocks: how a block's end is seen: less indentation, a closing brace, or not at all. closers: words that close a block.
        semicolons: whether one ends a statement. adjacent_names: whether two names may stand side by side, such as a type and a
            variable. templates: whether `${` in a string begins code. prose: whether brackets and quotes are no more than punctuation.
    """

    ids: tuple[str, ...]
    suffixes: Mapping[str, str] = field(default_factory=dict)
    grammar: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    enabled: bool = True
    line_comments: tuple[str, ...] = ()
    block_comments: tuple[tuple[str, str], ...] = ()
    quotes: tuple[str, ...] = ('"', "'")
    long_quotes: tuple[str, ...] = ()
    literals: str = ""
    keywords: frozenset[str] = field(default_factory=frozenset)
    imports: re.Pattern[str] | None = None
    definitions: re.Pattern[str] | None = None
    blocks: Blocks = "none"
    closers: frozenset[str] = field(default_factory=frozenset)
    semicolons: bool = False
    adjacent_names: bool = True
    templates: bool = False
    prose: bool = False

    def __hash__(self) -> int:
        return hash(self.ids)


def _suffixes(language: str, text: str) -> Mapping[str, str]:
    """`.js .jsx=javascriptreact` → the identifier of each suffix."""
    return {suffix: other or language for suffix, _, other in (part.partition("=") for part in text.split())}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_C_COMMENTS: Final = (("/*", "*/"),)
_C_WORDS: Final = """auto break case char const continue default do double else enum extern float for goto if inline int long
    register return short signed sizeof static struct switch typedef union unsigned void volatile while"""
_SCRIPT_WORDS: Final = """async await break case catch class const continue debugger default delete do else export extends false
    finally for function if import in instanceof let new null of return static super switch this throw true try typeof undefined
    var void while with yield"""
_CONTROL: Final = (
    r"(?!(?:if|for|foreach|while|switch|catch|else|do|try|synchronized|using|lock|return|when|match|with)\b)"
)
_METHOD: Final = _CONTROL + r"[\w<>\[\],.?*&: ]*\w\s*\([^;=]*\)[\w\s,.:<>\[\]|]*\{"
"""A line that begins a function without a keyword for it."""
_CHARACTER: Final = r"'(?:\\[^\n]{1,9}?|[^'\\\n])'"
_REGEX: Final = r"(?:(?<=[(,=:\[!&|?{};>])|(?<=return))[ \t]*/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/\w*"


def _begins(words: str, methods: bool = True) -> re.Pattern[str]:
    """Matches an annotation, the words, separated by blanks, where white space follows, and a method."""
    return re.compile(f"@\\w|(?:{'|'.join(words.split())})\\s" + (f"|{_METHOD}" if methods else ""))


_SCRIPT_DEFINITIONS: Final = _begins(
    "export function async\\sfunction class abstract interface enum namespace public private protected static"
)
_SCRIPT_IMPORTS: Final = re.compile(r"import\b(?!\s*\()|(?:const|let|var)\s.*=\s*require\(|['\"]use strict['\"]")

TABLE: Final = (
    Language(
        ("python",),
        suffixes=_suffixes("python", ".py .pyi .pyw"),
        grammar={"python": ("tree_sitter_python", "language")},
        adjacent_names=False,
        line_comments=("#",),
        long_quotes=('"""', "'''"),
        keywords=_words(
            """False None True and as assert async await break class continue def del elif else except finally for from global if
            import in is lambda nonlocal not or pass raise return try while with yield"""
        ),
        imports=re.compile(r"import\s+\w|from\s+[\w.]+\s+import\b"),
        definitions=_begins("def class async\\sdef", methods=False),
        blocks="indent",
    ),
    Language(
        ("java",),
        suffixes=_suffixes("java", ".java"),
        grammar={"java": ("tree_sitter_java", "language")},
        semicolons=True,
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        long_quotes=('"""',),
        keywords=_words(
            """abstract assert boolean break byte case catch char class const continue default do double else enum extends false
            final finally float for goto if implements import instanceof int interface long native new null package private
            protected public return short static strictfp super switch synchronized this throw throws transient true try void
            volatile while"""
        ),
        imports=re.compile(r"(?:import|package)\s+[\w.]"),
        definitions=_begins("public private protected static abstract class interface enum record"),
        literals=_CHARACTER,
        blocks="braces",
    ),
    Language(
        ("javascript", "javascriptreact"),
        suffixes=_suffixes("javascript", ".js .mjs .cjs .jsx=javascriptreact"),
        grammar=dict.fromkeys(("javascript", "javascriptreact"), ("tree_sitter_javascript", "language")),
        templates=True,
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        long_quotes=("`",),
        keywords=_words(_SCRIPT_WORDS),
        imports=_SCRIPT_IMPORTS,
        definitions=_SCRIPT_DEFINITIONS,
        literals=_REGEX,
        blocks="braces",
    ),
    Language(
        ("typescript", "typescriptreact"),
        suffixes=_suffixes("typescript", ".ts .mts .cts .tsx=typescriptreact"),
        grammar={
            "typescript": ("tree_sitter_typescript", "language_typescript"),
            "typescriptreact": ("tree_sitter_typescript", "language_tsx"),
        },
        templates=True,
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        long_quotes=("`",),
        keywords=_words(
            _SCRIPT_WORDS
            + """ abstract any as boolean declare enum implements interface keyof namespace never number private protected
            public readonly string unknown"""
        ),
        imports=_SCRIPT_IMPORTS,
        definitions=_SCRIPT_DEFINITIONS,
        literals=_REGEX,
        blocks="braces",
    ),
    Language(
        ("go",),
        suffixes=_suffixes("go", ".go"),
        grammar={"go": ("tree_sitter_go", "language")},
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        long_quotes=("`",),
        keywords=_words(
            """break case chan const continue default defer else fallthrough for func go goto if import interface map nil package
            range return select struct switch type var"""
        ),
        imports=re.compile(r"package\s+\w|import\s*[(\"]"),
        definitions=_begins("func type", methods=False),
        literals=_CHARACTER,
        blocks="braces",
    ),
    Language(
        ("rust",),
        suffixes=_suffixes("rust", ".rs"),
        grammar={"rust": ("tree_sitter_rust", "language")},
        semicolons=True,
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        quotes=(),  # a lifetime has the quote of a character
        long_quotes=('"',),
        keywords=_words(
            """as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut
            pub ref return self static struct super trait true type unsafe use where while"""
        ),
        imports=re.compile(r"use\s+[\w:{]|extern\s+crate\b|#!\["),
        definitions=re.compile(r"#\[|(?:pub(?:\([\w:]+\))?\s+)?(?:async\s+|unsafe\s+|const\s+)?(?:fn|impl|struct|enum|trait|mod)\s"),
        literals=rf"{_CHARACTER}|'[a-z_]\w*|r#\"(?:[^\"]|\"(?!#))*\"#",
        blocks="braces",
    ),
    Language(
        ("c",),
        suffixes=_suffixes("c", ".c .h"),
        grammar={"c": ("tree_sitter_c", "language")},
        semicolons=True,
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        keywords=_words(_C_WORDS),
        imports=re.compile(r"#\s*include\b"),
        definitions=_begins("typedef"),
        literals=_CHARACTER,
        blocks="braces",
    ),
    Language(
        ("cpp", "cuda-cpp", "objective-c", "objective-cpp"),
        suffixes=_suffixes("cpp", ".cpp .cc .cxx .hpp .hh .hxx .cu=cuda-cpp .m=objective-c .mm=objective-cpp"),
        grammar={"cpp": ("tree_sitter_cpp", "language")},
        semicolons=True,
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        keywords=_words(
            _C_WORDS
            + """ bool catch class constexpr const_cast delete dynamic_cast explicit false friend mutable namespace new noexcept
            nullptr operator override private protected public reinterpret_cast static_cast template this throw true try typeid
            typename using virtual"""
        ),
        imports=re.compile(r"#\s*(?:include|import)\b|using\s+namespace\b"),
        definitions=_begins("class namespace template"),
        literals=rf"{_CHARACTER}|(?<=\d)'(?=\d)|R\"\([^)]*\)\"",
        blocks="braces",
    ),
    Language(
        ("csharp",),
        suffixes=_suffixes("csharp", ".cs"),
        grammar={"csharp": ("tree_sitter_c_sharp", "language")},
        semicolons=True,
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        long_quotes=('"""',),
        keywords=_words(
            """abstract as async await base bool break byte case catch char checked class const continue decimal default delegate
            do double else enum event explicit extern false finally fixed float for foreach goto if implicit in int interface
            internal is lock long namespace new null object operator out override params private protected public readonly ref
            return sealed short sizeof stackalloc static string struct switch this throw true try typeof uint ulong unchecked
            unsafe ushort using var virtual void volatile while"""
        ),
        imports=re.compile(r"using\s+(?:static\s+)?[\w.]+(?:\s*=\s*[\w.<>]+)?\s*;|namespace\s+[\w.]+"),
        definitions=_begins("public private protected internal static sealed abstract class struct interface enum record namespace"),
        literals=rf"{_CHARACTER}|@\"(?:[^\"]|\"\")*\"",
        blocks="braces",
    ),
    Language(
        ("php",),
        suffixes=_suffixes("php", ".php"),
        grammar={"php": ("tree_sitter_php", "language_php")},
        line_comments=("//", "#"),
        block_comments=_C_COMMENTS,
        quotes=(),
        long_quotes=('"', "'"),
        keywords=_words(
            """abstract and array as break callable case catch class clone const continue declare default do echo else elseif
            empty enum extends false final finally fn for foreach function global if implements include instanceof interface
            isset list match namespace new null or print private protected public readonly require return static switch this throw
            trait true try unset use var while yield"""
        ),
        imports=re.compile(r"<\?php\b|namespace\s+[\w\\]+|use\s+[\w\\]+[^(]*;|(?:require|include)(?:_once)?\b"),
        definitions=_begins("function public private protected static abstract final class interface trait"),
        blocks="braces",
    ),
    Language(
        ("ruby",),
        suffixes=_suffixes("ruby", ".rb .rake"),
        grammar={"ruby": ("tree_sitter_ruby", "language")},
        line_comments=("#",),
        block_comments=(("=begin", "=end"),),
        quotes=(),
        long_quotes=('"', "'", "`"),
        keywords=_words(
            """alias and begin break case class def defined? do else elsif end ensure false for if in module next nil not or redo
            require rescue retry return self super then true undef unless until when while yield"""
        ),
        imports=re.compile(r"require(?:_relative)?\s*[('\"]|#\s*frozen_string_literal"),
        definitions=_begins("def class module", methods=False),
        blocks="indent",
        closers=_words("end"),
    ),
    Language(
        ("kotlin",),
        suffixes=_suffixes("kotlin", ".kt .kts"),
        grammar={"kotlin": ("tree_sitter_kotlin", "language")},
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        long_quotes=('"""',),
        keywords=_words(
            """abstract as break by catch class companion const constructor continue data do else enum false final finally for fun
            if import in init interface internal is lateinit null object open override package private protected public return
            sealed super suspend this throw true try typealias val var when while"""
        ),
        imports=re.compile(r"(?:import|package)\s+[\w.]"),
        definitions=_begins("fun class interface object enum data public private protected internal override suspend abstract open", methods=False),
        literals=_CHARACTER,
        blocks="braces",
    ),
    Language(
        ("scala",),
        suffixes=_suffixes("scala", ".scala .sc"),
        grammar={"scala": ("tree_sitter_scala", "language")},
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        long_quotes=('"""',),
        keywords=_words(
            """abstract case catch class def do else enum extends false final finally for given if implicit import lazy match new
            null object override package private protected return sealed super then this throw trait true try type val var while
            with yield"""
        ),
        imports=re.compile(r"(?:import|package)\s+[\w.]"),
        definitions=_begins("def class trait object case\\sclass override implicit private protected abstract sealed", methods=False),
        literals=_CHARACTER,
        blocks="braces",
    ),
    Language(
        ("swift",),
        suffixes=_suffixes("swift", ".swift"),
        grammar={"swift": ("tree_sitter_swift", "language")},
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        quotes=('"',),
        long_quotes=('"""',),
        keywords=_words(
            """as associatedtype async await break case catch class continue default defer deinit do else enum extension false
            fileprivate for func guard if import in init inout internal is let nil open operator override private protocol public
            repeat rethrows return self static struct subscript super switch throw throws true try typealias var where while"""
        ),
        imports=re.compile(r"import\s+\w"),
        definitions=_begins("func class struct enum protocol extension init public private fileprivate internal override static", methods=False),
        blocks="braces",
    ),
    Language(
        ("lua",),
        suffixes=_suffixes("lua", ".lua"),
        grammar={"lua": ("tree_sitter_lua", "language")},
        adjacent_names=False,
        line_comments=("--",),
        block_comments=(("--[[", "]]"),),
        keywords=_words(
            """and break do else elseif end false for function goto if in local nil not or repeat return then true until while"""
        ),
        definitions=_begins("function local\\sfunction", methods=False),
        blocks="indent",
        closers=_words("end until"),
    ),
    Language(
        ("shellscript",),
        suffixes=_suffixes("shellscript", ".sh .bash .zsh"),
        prose=True,
        line_comments=("#",),
        quotes=(),
        long_quotes=('"', "'", "`"),
        keywords=_words(
            """break case continue do done echo elif else esac exit export fi for function if in local readonly return select
            shift then unset until while"""
        ),
        imports=re.compile(r"#!"),
        definitions=re.compile(r"function\s|\w+\s*\(\)"),
        blocks="indent",
        closers=_words("fi done esac }"),
    ),
    Language(
        ("sql",),
        suffixes=_suffixes("sql", ".sql"),
        line_comments=("--",),
        block_comments=_C_COMMENTS,
        quotes=(),
        long_quotes=("'", '"'),
        keywords=_words(
            """ADD ALL ALTER AND AS ASC BEGIN BETWEEN BY CASE COLUMN COMMIT CREATE CROSS DELETE DESC DISTINCT DROP ELSE END EXISTS
            FROM FULL GROUP HAVING IN INNER INSERT INTO IS JOIN LEFT LIKE LIMIT NOT NULL OFFSET ON OR ORDER OUTER PRIMARY
            REFERENCES RIGHT SELECT SET TABLE THEN UNION UNIQUE UPDATE VALUES WHEN WHERE WITH"""
        ),
    ),
    Language(("html", "xml", "vue"), suffixes=_suffixes("html", ".html .htm .xml=xml .vue=vue"), prose=True, block_comments=(("<!--", "-->"),), quotes=(), long_quotes=('"', "'")),
    Language(("css",), suffixes=_suffixes("css", ".css"), grammar={"css": ("tree_sitter_css", "language")}, block_comments=_C_COMMENTS, imports=re.compile(r"@(?:import|charset)\b"), blocks="braces"),
    Language(
        ("scss", "less"),
        suffixes=_suffixes("scss", ".scss .less=less"),
        line_comments=("//",),
        block_comments=_C_COMMENTS,
        imports=re.compile(r"@(?:import|charset|use)\b"),
        blocks="braces",
    ),
    Language(("json",), suffixes=_suffixes("json", ".json"), quotes=('"',), keywords=_words("false null true"), blocks="braces"),
    Language(
        ("jsonc",), suffixes=_suffixes("jsonc", ".jsonc"), line_comments=("//",), block_comments=_C_COMMENTS, quotes=('"',), keywords=_words("false null true"),
        blocks="braces",
    ),
    Language(("yaml",), suffixes=_suffixes("yaml", ".yaml .yml"), prose=True, line_comments=("#",), keywords=_words("false null true"), blocks="indent"),
    Language(("markdown",), suffixes=_suffixes("markdown", ".md"), enabled=False, prose=True, block_comments=(("<!--", "-->"),), quotes=()),
)  # fmt: skip

OTHER: Final = Language((), enabled=False, prose=True, line_comments=("#", "//"), long_quotes=('"""', "'''"))
"""A language that is not in the table: with the signs that most have."""

ENABLED: Final = [name for language in TABLE if language.enabled for name in language.ids]
"""Languages in which completions are on by default."""

CODE: Final = tuple(language.ids[0] for language in TABLE if language.definitions is not None)
"""Languages that have definitions, and so code, each by the first identifier of its row: those of a corpus."""

BY_SUFFIX: Final = {suffix: name for language in TABLE for suffix, name in language.suffixes.items()}

_BY_ID: Final = {name: language for language in TABLE for name in language.ids}


def language_of(name: str) -> Language:
    """The facts of VS Code's language `name`; `OTHER` where it is not in the table."""
    return _BY_ID.get(name, OTHER)
