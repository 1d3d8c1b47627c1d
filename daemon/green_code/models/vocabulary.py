"""Text to token ids and back, over the whole vocabulary or a pruned one.

A pruned vocabulary has the tokens that code needs (the bundle lists their ids); all other text is encoded in smaller pieces,
down to single bytes. It is an ordinary `tokenizers` file, built at conversion, with the merges of the kept pieces.

Invariants:
  * `decode(encode(text)) == text` for any Unicode text except surrogates, which are not characters. A tokenizer without tokens for
    some control characters leaves those out.
  * Lines are encoded one by one, each with the line breaks after it, so that an edit changes no token of an earlier line. Where
    the tokenizer has words of a line break and the indentation behind it (GPT-2's expression), a line has those before it.
  * No text becomes a special token; every special token decodes to nothing, and ends a completion.

Must not know: models, caches, languages.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import re
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from green_code.bounded_cache import BoundedCache
from green_code.models.fim import NAMES, Fim, find_fim
from green_code.problems import Problem

SPACE = "▁"  # U+2581, which stands for a space in SentencePiece
NO_WORD = b"\xff"
"""As the start of a text: one that goes on with no word. No text in UTF-8 has this byte."""
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_LINES = r"[^\n]*\n+|[^\n]+"
_LINE = re.compile(_LINES)
_LINE_WITH_BREAK_BEFORE = re.compile(r"[\r\n]+[^\r\n]*|[^\r\n]+")
_LINES_BYTES = 8 << 20  # of the lines whose tokens are held: of code, more than fifty prompts have
_ENTRY_BYTES = 400  # of a line that is held, besides its characters and tokens
_NEEDED_BYTES = frozenset((*b"\t\n\f\r", *range(0x20, 0x7F), *range(0x80, 0xC0), *range(0xC2, 0xF1), 0xF3, 0xF4))
"""Some tokenizers lack bytes of other control characters, and of planes of Unicode that are empty: these they leave out."""
SPECIAL_KINDS = (2, 3, 5)  # of `Pieces`: unknown, control, unused
_PROBE = (  # what normalisers change: blanks, ligatures, width, order and composition of accents, case, signs without width
    "".join(map(chr, range(256)))
    + "a\n  a\n\tA \r\n  \r\r\n\ufb01 \uff21 e\u0301 \u00e9 a\u0323\u0307 \u212b \u1e9e \u0130 \u2028 \u3000 \u200b\u200d \ufeff \u2581 \u4e2d \U0001f600 \U000e0041"
)


@dataclass(frozen=True)
class Pieces:
    """The vocabulary of a SentencePiece BPE checkpoint, as a GGUF file has it.

    `kinds` are SentencePiece's types: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    """

    texts: Sequence[str]
    scores: Sequence[float]
    kinds: Sequence[int]
    bos: int | None
    eos: int | None

    @property
    def ends(self) -> list[int]:
        return [] if self.eos is None else [self.eos]

    def subset(self, ids: Sequence[int]) -> Pieces:
        """The pieces of `ids`, renumbered in that order."""
        place = {old: new for new, old in enumerate(ids)}
        for name, token in (("start", self.bos), ("end", self.eos)):
            if token is not None and token not in place:
                raise Problem(
                    "bundle_invalid",
                    f"the bundle's vocabulary lacks the model's {name} token, {token}; fetch the bundle again.",
                )
        return Pieces(
            [self.texts[i] for i in ids],
            [self.scores[i] for i in ids],
            [self.kinds[i] for i in ids],
            None if self.bos is None else place[self.bos],
            None if self.eos is None else place[self.eos],
        )


def merge_rank(text: str, score: float, kind: int) -> tuple[int, float]:
    """Order of merging: repeated white space that is user-defined first, the shortest before longer ones; then by score, the highest first."""
    blank = kind == 4 and len(set(text)) == 1 and text[0] in f"{SPACE}\n\t"
    return (0, len(text)) if blank else (1, -score)


def build_tokenizer(pieces: Pieces) -> Tokenizer:
    """A `tokenizers` BPE that merges as SentencePiece does: the adjacent pair with the highest score first."""
    texts = [t.replace(" ", SPACE) if k == 4 else t for t, k in zip(pieces.texts, pieces.kinds, strict=True)]
    vocabulary = {text: i for i, text in enumerate(texts)}
    mergeable = [
        (merge_rank(text, score, kind), text)
        for text, score, kind in zip(texts, pieces.scores, pieces.kinds, strict=True)
        if len(text) > 1 and (kind == 1 or (kind == 4 and not text.strip(f"{SPACE}\n\t")))
    ]
    mergeable.sort()
    merges = [
        (text[:cut], text[cut:])
        for _, text in mergeable
        for cut in range(1, len(text))
        if text[:cut] in vocabulary and text[cut:] in vocabulary
    ]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_LINES), behavior="isolated")
    tokenizer.add_special_tokens(
        [text for text, kind in zip(texts, pieces.kinds, strict=True) if kind in SPECIAL_KINDS or text in NAMES]
    )
    return tokenizer


def lossless(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer without what loses or adds text: a space before it, NFC, a length, blanks beside tokens of their own.

    Names of fill-in-the-middle tokens become special: Qwen's file lists them as text.

    Raises:
        Problem: it still changes text.
    """
    described = json.loads(tokenizer.to_str()) | {"truncation": None, "padding": None}
    for part in ("normalizer", "pre_tokenizer"):
        described[part] = _without_losses(described.get(part))
    for token in described.get("added_tokens", ()):
        token |= {"lstrip": False, "rstrip": False, "single_word": False}
    exact = Tokenizer.from_str(json.dumps(described))
    exact.add_special_tokens([name for name in sorted(NAMES) if exact.token_to_id(name) is not None])
    vocabulary = Vocabulary(exact, None, ())
    probe = "".join(c for c in _PROBE if not vocabulary.lacking & set(c.encode()))
    if (text := vocabulary.decode(vocabulary.encode(probe))) != probe:
        at = next(i for i, (a, b) in enumerate(zip(probe, text + " " * len(probe), strict=False)) if a != b)
        raise Problem(
            "model_damaged",
            f"the model's tokenizer does not give text back as it was (from {probe[at]!r} on): choose another model, such ones are not supported.",
        )
    return exact


def compact(tokenizer: Tokenizer) -> str:
    """The tokenizer's file in the form that is read fastest: no white space, and merges as text where no piece has a space."""
    described = json.loads(tokenizer.to_str())
    merges = described["model"].get("merges", ())
    if merges and not any(" " in piece for piece in itertools.chain.from_iterable(merges)):
        described["model"]["merges"] = list(map(" ".join, merges))
    return json.dumps(described, separators=(",", ":"), ensure_ascii=False)


def _without_losses(step: dict[str, Any] | None) -> dict[str, Any] | None:
    """One step of a tokenizer.json, and the steps in it."""
    if step is None or step["type"] in ("NFC", "Prepend"):
        return None
    for steps in ("normalizers", "pretokenizers"):
        if steps in step:
            step[steps] = [kept for part in step[steps] if (kept := _without_losses(part)) is not None]
    if step["type"] == "Metaspace":
        step["prepend_scheme"] = "never"
    if step["type"] == "ByteLevel":
        step["add_prefix_space"] = False
    return step


def start_token(tokenizer: Tokenizer) -> int | None:
    """The token that a tokenizer's own post-processor puts before a text; None if it puts none."""
    with_start, without = (tokenizer.encode("a", add_special_tokens=special).ids for special in (True, False))
    return int(with_start[0]) if with_start[: len(without)] != without else None


class Vocabulary:
    """Encodes text, decodes tokens, and has the bytes of each token.

    `eos` are the tokens that end a completion: those given, and all special ones but `bos`. `fim` is the tokenizer's format for
    fill-in-the-middle. `lacking` are the bytes for which it has no token.

    Args:
        tokenizer: a SentencePiece-like one (`build_tokenizer`) or a byte-level one (GPT-2's alphabet); see `lossless`.
        bos: id of the token before a prompt, or None. eos: ids of the tokens that end a text.

    Raises:
        Problem: it is of another kind, or it cannot encode all bytes.
    """

    def __init__(self, tokenizer: Tokenizer, bos: int | None, eos: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.encode_special_tokens = True  # "<bos>" in a source file is text
        if isinstance(tokenizer.model, models.BPE):
            # Its own cache of words would grow to 50 MB where a word is a whole line, and saves no time beside the cache of lines here.
            tokenizer.model._resize_cache(0)
        added = tokenizer.get_added_tokens_decoder()
        special = {i for i, token in added.items() if token.special}
        self.bos, ends = bos, frozenset(eos)
        self.eos = ends | (special - {bos})
        self.fim: Fim | None = find_fim({added[i].content: i for i in special})
        self._byte_level = any("Ġ" in word for word in _words(tokenizer, "a b"))
        spell = _byte_level_bytes if self._byte_level else _sentencepiece_bytes
        named = tokenizer.get_vocab(with_added_tokens=True)
        self.token_bytes: list[bytes] = [b""] * (1 + max(named.values(), default=-1))
        for text, i in named.items():
            if i not in special and i not in ends and i != bos:
                self.token_bytes[i] = text.encode() if self._byte_level and i in added else spell(text)
        bytes_of = {spelled[0]: i for i, spelled in enumerate(self.token_bytes) if len(spelled) == 1}
        self.lacking = frozenset(range(256)) - bytes_of.keys()
        if self.lacking & _NEEDED_BYTES:
            raise Problem(
                "model_damaged",
                "the model's tokenizer lacks tokens for single bytes, so it cannot encode all text: choose another model.",
            )
        self._line = _LINE_WITH_BREAK_BEFORE if self._byte_level and _joins_break(tokenizer) else _LINE
        self._literal_space = [bytes_of[byte] for byte in SPACE.encode()]
        self._encode_line = BoundedCache(self._encode_uncached, _held_bytes, _LINES_BYTES)

    @classmethod
    def open(cls, path: Path, bos: int | None, eos: Iterable[int]) -> Vocabulary:
        return cls(Tokenizer.from_file(str(path)), bos, eos)

    def __len__(self) -> int:
        return len(self.token_bytes)

    @property
    def digest(self) -> str:
        """Differs for other tokens and for another order of them; SHA-256, hexadecimal."""
        return hashlib.sha256(repr(self.token_bytes).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without bos. The latest lines are cached."""
        return list(itertools.chain.from_iterable(map(self._encode_line, self._line.findall(text))))

    def _encode_uncached(self, line: str) -> array[int]:
        if self._byte_level or SPACE not in line:
            return array("i", self._tokenizer.encode(line, add_special_tokens=False).ids)
        ids = array("i")
        for i, part in enumerate(line.split(SPACE)):  # between the parts is the character U+2581 itself
            ids.extend(self._literal_space * (i > 0))
            ids.extend(self._tokenizer.encode(part, add_special_tokens=False).ids)
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        return b"".join(self.token_bytes[i] for i in ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; an incomplete last character is left out, other invalid bytes become U+FFFD."""
        return text_of(self.decode_bytes(ids))

    @cached_property
    def _sorted(self) -> tuple[list[bytes], list[int]]:
        spelled = self.token_bytes.__getitem__  # and no lambda: a first completion waits for this
        order = sorted(filter(spelled, range(len(self))), key=spelled)
        return list(map(spelled, order)), order

    def is_compatible(self, token: int, start: bytes) -> bool:
        """Whether a token's bytes begin with `start`, or `start` with them; or with no letter, digit or underscore (`NO_WORD`)."""
        spelled = self.token_bytes[token]
        if start == NO_WORD:
            return bool(spelled) and not _is_of_word(spelled[0])
        return bool(spelled) and (spelled.startswith(start) or start.startswith(spelled))

    def tokens_compatible_with(self, start: bytes) -> list[int]:
        """Ids of all compatible tokens, in no particular order."""
        if start == NO_WORD:
            return [token for token in range(len(self)) if self.is_compatible(token, start)]
        spelled, order = self._sorted
        low, high = bisect.bisect_left(spelled, start), bisect.bisect_left(spelled, start + b"\xff" * 8)
        found = order[low:high]
        for length in range(1, len(start)):
            i = bisect.bisect_left(spelled, start[:length])
            while i < len(spelled) and spelled[i] == start[:length]:
                found.append(order[i])
                i += 1
        return found


def _held_bytes(line: str, ids: array[int]) -> int:
    return sys.getsizeof(line) + len(ids) * ids.itemsize + _ENTRY_BYTES


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    cut = tokenizer.pre_tokenizer.pre_tokenize_str(text) if tokenizer.pre_tokenizer is not None else ()
    return [word for word, _ in cut]


def _joins_break(tokenizer: Tokenizer) -> bool:
    """Whether a byte-level tokenizer has a word of a line break and what follows it."""
    return any(len(word) > 1 and word[0] == "Ċ" for word in _words(tokenizer, "a\n    b"))


def text_of(data: bytes) -> str:
    """Decode UTF-8; an incomplete last character is left out, other invalid bytes become U+FFFD."""
    for cut in range(min(3, len(data)) + 1):
        try:
            return data[: len(data) - cut].decode()
        except UnicodeDecodeError as error:
            if error.start < len(data) - cut - 3:
                break
    return data.decode(errors="replace")


def _is_of_word(byte: int) -> bool:
    """Whether a character that begins with this byte is likely part of a word: also any that is not ASCII."""
    return byte >= 0x80 or chr(byte).isalnum() or chr(byte) == "_"


def _sentencepiece_bytes(piece: str) -> bytes:
    if piece.startswith("<0x") and (byte := _BYTE.fullmatch(piece)):
        return bytes([int(byte[1], 16)])
    return piece.replace(SPACE, " ").encode()


def _byte_level_bytes(piece: str) -> bytes:
    try:
        return piece.translate(_byte_level_alphabet()).encode("latin-1")
    except UnicodeEncodeError:
        return b""


@cache
def _byte_level_alphabet() -> dict[int, int]:
    """GPT-2's characters for bytes: printable bytes stand for themselves, the others are U+0100 and following; → bytes.

    What is no such character is given a place above them.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return dict.fromkeys(rest, 256) | {0x100 + i: byte for i, byte in enumerate(rest)}
