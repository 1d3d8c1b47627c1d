"""Fill-in-the-middle: the order and the special tokens in which a model was trained to see what follows the cursor.

A row for each family of tokenizers (Bavarian et al., arXiv 2207.14255, who call the orders PSM and SPM). A tokenizer has the
format of the first row whose tokens it all has. Whether the model was trained on it, and gains by it, is measured elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fim:
    """The ids of one tokenizer's format.

    `middle` is None where the model goes on right behind the prefix. `file` stands before a file's path, which a line break
    ends; `repository` before the repository's name. `path_in_prefix`: the path of the file that is completed follows the token
    `prefix`; otherwise `file` and the path stand before all three parts.
    """

    prefix: int
    suffix: int
    middle: int | None
    suffix_first: bool = False
    file: int | None = None
    repository: int | None = None
    path_in_prefix: bool = False

    def prompt(self, prefix: Sequence[int], suffix: Sequence[int]) -> list[int]:
        """Tokens of a prompt that the text between `prefix` and `suffix` follows."""
        before, after = [self.prefix, *prefix], [self.suffix, *suffix]
        return [
            *(after + before if self.suffix_first else before + after),
            *(() if self.middle is None else (self.middle,)),
        ]


@dataclass(frozen=True)
class _Row:
    """Names of special tokens. Of `files` and `repositories`, those that a tokenizer has first. `also` tells two rows apart."""

    prefix: str
    suffix: str
    middle: str | None
    suffix_first: bool = False
    files: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    path_in_prefix: bool = False
    also: tuple[str, ...] = ()


_ROWS = (
    # Qwen2.5-Coder (arXiv 2409.12186), CodeGemma (arXiv 2406.11409), Granite 4
    _Row(
        "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>",
        files=("<|file_sep|>", "<|file_separator|>", "<|filename|>"), repositories=("<|repo_name|>", "<|reponame|>"),
    ),
    # Mellum: StarCoder's names in its model card's own order; the roles of a chat are in no other vocabulary with these
    _Row(
        "<fim_prefix>", "<fim_suffix>", "<fim_middle>", suffix_first=True,
        files=("<filename>",), repositories=("<reponame>",), also=("<assistant>",),
    ),
    # StarCoder 2 (arXiv 2402.19173)
    _Row(
        "<fim_prefix>", "<fim_suffix>", "<fim_middle>",
        files=("<file_sep>",), repositories=("<repo_name>",), path_in_prefix=True, also=("<file_sep>",),
    ),
    # StarCoder (arXiv 2305.06161), Granite Code, Stable Code
    _Row("<fim_prefix>", "<fim_suffix>", "<fim_middle>", files=("<filename>",), repositories=("<reponame>",)),
    _Row("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    _Row("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama (arXiv 2308.12950)
    _Row("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek-Coder (arXiv 2401.14196)
    _Row("[PREFIX]", "[SUFFIX]", None, suffix_first=True),  # Codestral, as mistral-common encodes it
)  # fmt: skip

_ENDS = ("▁<EOT>", "<|fim_pad|>", "<fim_pad>")
NAMES = frozenset(
    {name for row in _ROWS for name in (row.prefix, row.suffix, row.middle, *row.files, *row.repositories) if name}
).union(_ENDS)
"""Names that are special wherever a tokenizer has a token of its own for them, even where its file says otherwise (Qwen's does)."""


def find_fim(added: Mapping[str, int]) -> Fim | None:
    """The format of a tokenizer, from its tokens of its own (name → id); None if it has none."""
    for row in _ROWS:
        if all(name in added for name in (row.prefix, row.suffix, *row.also)) and (
            not row.middle or row.middle in added
        ):
            file, repository = (
                next((added[name] for name in names if name in added), None) for names in (row.files, row.repositories)
            )
            middle = added[row.middle] if row.middle else None
            return Fim(
                added[row.prefix], added[row.suffix], middle, row.suffix_first, file, repository, row.path_in_prefix
            )
    return None
