"""The tokenizer of a GGUF file, built with the `tokenizers` library from the file's vocabulary.

Two kinds are read: SentencePiece's BPE (`llama`), and byte-level BPE (`gpt2`), whose words are cut out by a regular expression
that the file only names. The names are llama.cpp's (src/llama-vocab.cpp); each stands for what the models' own tokenizer.json do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from green_code.models.fim import NAMES
from green_code.models.vocabulary import SPECIAL_KINDS, Pieces, build_tokenizer

_NORMAL, _USER, _UNUSED = 1, 4, 5  # types of a token
_KINDS: Final = range(1, 7)
_CONTRACTIONS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_WORDS: Final = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED_WORDS: Final = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class _Words:
    """How a text is cut into words before merging: by expressions, one after another (none: by GPT-2's own), digits apart.

    `whole`: a word that is a token is not merged from its parts. `start`: a start token is put where the file does not say.
    """

    expressions: tuple[str, ...] = ()
    digits: bool = False
    whole: bool = False
    start: bool = False

    def pre_tokenizer(self) -> pre_tokenizers.PreTokenizer:
        steps: list[Any] = [pre_tokenizers.Split(Regex(text), behavior="isolated") for text in self.expressions]
        if self.digits:
            steps.append(pre_tokenizers.Digits(individual_digits=True))
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not self.expressions))
        return pre_tokenizers.Sequence(steps)


_GPT2 = _Words()
_STARCODER = _Words(digits=True)
_QWEN2 = _Words((_CONTRACTIONS + _WORDS % "",))
_LLAMA3 = _Words((_CONTRACTIONS + _WORDS % "{1,3}",), whole=True, start=True)
_PRE_TOKENIZERS: Final[Mapping[str, _Words]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mellum"), _GPT2),
    **dict.fromkeys(("starcoder", "smollm", "refact", "mellum2"), _STARCODER),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), _QWEN2),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), _LLAMA3),
    "tekken": _Words((_CASED_WORDS,), whole=True, start=True),
    "deepseek-coder": _Words((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"), digits=True),
}


@dataclass(frozen=True)
class GgufVocabulary:
    """What a file's metadata says of its tokenizer.

    Raises:
        ValueError: `read` found a part missing, of a wrong type, or not fitting the others.
    """

    pieces: Pieces
    start: int | None
    words: _Words | None  # None: SentencePiece
    merges: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> GgufVocabulary:
        def listed(name: str, kind: type, default: Any = None) -> Any:
            value = fields.get(f"tokenizer.ggml.{name}", default)
            if not isinstance(value, kind):
                raise ValueError(f"tokenizer.ggml.{name} is missing or of a wrong type")
            return value

        model, texts = listed("model", str), listed("tokens", list)
        if model not in ("llama", "gpt2"):
            raise ValueError(f"its tokenizer is {model!r}; known are: gpt2, llama")
        if len(set(texts)) < len(texts) and model == "gpt2":
            raise ValueError("tokenizer.ggml.tokens has a token twice")
        kinds = listed("token_type", np.ndarray, np.full(len(texts), _NORMAL))
        scores = listed("scores", np.ndarray, np.zeros(len(texts))) if model == "gpt2" else listed("scores", np.ndarray)
        if not len(kinds) == len(scores) == len(texts) or not np.isin(kinds, _KINDS).all() or np.isnan(scores).any():
            raise ValueError("the lists of its tokens, their types and scores do not fit")

        def token(name: str) -> int | None:
            value = fields.get(f"tokenizer.ggml.{name}_token_id")
            if value is None:
                return None
            if not isinstance(value, int) or not 0 <= value < len(texts):
                raise ValueError(f"tokenizer.ggml.{name}_token_id is {value}, and it has {len(texts)} tokens")
            return value

        words: _Words | None = None
        merges: tuple[tuple[str, str], ...] = ()
        if model == "gpt2":
            name = str(fields.get("tokenizer.ggml.pre"))
            if name not in _PRE_TOKENIZERS:
                known = ", ".join(sorted(_PRE_TOKENIZERS))
                raise ValueError(f"its tokenizer cuts words by {name!r}; known are: {known}")
            words, merges = _PRE_TOKENIZERS[name], _pairs(listed("merges", list), set(texts))
        starts = fields.get("tokenizer.ggml.add_bos_token", words is None or words.start)
        pieces = Pieces(texts, scores.tolist(), kinds.tolist(), token("bos"), token("eos"))
        return cls(pieces, pieces.bos if starts is True else None, words, merges)

    def build(self, ids: Sequence[int] | None) -> tuple[Tokenizer, int | None, list[int]]:
        """Tokenizer over `ids` (None: all), start token and end tokens in that numbering."""
        pieces, start = self.pieces, self.start
        if ids is not None:
            pieces, start = pieces.subset(ids), None if start is None else list(ids).index(start)
        tokenizer = build_tokenizer(pieces) if self.words is None else _byte_level(pieces, self.words, self.merges)
        return tokenizer, start, pieces.ends


def _pairs(merges: Sequence[str], texts: set[str]) -> tuple[tuple[str, str], ...]:
    pairs = tuple(merge.partition(" ")[::2] for merge in merges)
    if not all(left in texts and right in texts and left + right in texts for left, right in pairs):
        raise ValueError("tokenizer.ggml.merges has a pair that is no token")
    return pairs


def _byte_level(pieces: Pieces, words: _Words, merges: Sequence[tuple[str, str]]) -> Tokenizer:
    used = 1 + max(
        (i for i, kind in enumerate(pieces.kinds) if kind != _UNUSED), default=-1
    )  # the others pad the embedding
    kinds = dict(zip(pieces.texts[:used], pieces.kinds[:used], strict=True))
    vocabulary = {text: i for i, text in enumerate(kinds)}
    merges = [(a, b) for a, b in merges if a in vocabulary and b in vocabulary and a + b in vocabulary]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=words.whole))
    tokenizer.pre_tokenizer = words.pre_tokenizer()
    special = [text for text, kind in kinds.items() if text and (kind in SPECIAL_KINDS or text in NAMES)]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in special])
    own = [text for text, kind in kinds.items() if text and kind == _USER and text not in NAMES]
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in own])
    return tokenizer
