"""Scores of one completion against its reference.

Exact match, and edit similarity = Levenshtein ratio in percent (rapidfuzz's `ratio`, as CodeXGLUE's evaluator). Tokenised
references are compared with the tokenised completion. ROUGE-L compares code tokens, without stemming or lower case. BLEU
and chrF are sacrebleu's; the other parts of CodeBLEU are in codebleu.py.
"""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Sequence

from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from green_code_lab.evaluation.datasets import LITERAL

_TOKEN = re.compile(
    r"""(?P<string>(?:[rbfuRBFU]{0,2})(?:"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?))|(?P<number>\b\d[\w.]*)|\w+|[^\w\s]+?(?=[\w\s"'()\[\]{},;.]|$)|[^\w\s]"""
)

_WORD = re.compile(r"<\w+_LIT>|\w+|[^\w\s]")

_BLEU = BLEU(effective_order=True, tokenize="none")
_CHRF = CHRF()


def tokenise(text: str) -> str:
    """A line of source in CodeXGLUE's form, literals without their values."""
    matches = _TOKEN.finditer(text)
    return " ".join("<STR_LIT>" if m["string"] else "<NUM_LIT>" if m["number"] else m[0] for m in matches)


def normalise(reference: str) -> str:
    """A tokenised reference without the values of literals (CodeXGLUE keeps frequent ones)."""
    plain = LITERAL.sub(lambda m: f"<{'NUM' if m[2] == 'NUM' else 'STR'}_LIT>", reference)
    return " ".join(plain.replace("<EOL>", " ").replace("</s>", " ").split())


def exact_match(text: str, reference: str) -> float:
    return float(text.strip() == reference.strip())


def edit_similarity(text: str, reference: str) -> float:
    """0 … 100."""
    return float(fuzz.ratio(text.strip(), reference.strip()))


def words(text: str) -> list[str]:
    """Identifiers, numbers, masked literals and single marks of punctuation."""
    return _WORD.findall(text)


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L's F over `words`, 0 … 1 (Lin 2004, equations 2 to 4 with β = 1); two empty texts score 1."""
    found, wanted = words(text), words(reference)
    both = len(found) + len(wanted)
    return 2 * LCSseq.similarity(found, wanted) / both if both else 1.0


def bleu(text: str, reference: str) -> float:
    """BLEU-4 of one text, 0 … 100, over `words`; orders longer than the text are left out."""
    return _sentence_score(_BLEU, " ".join(words(text)), " ".join(words(reference)))


def chrf(text: str, reference: str) -> float:
    """chrF (Popović 2015), 0 … 100: F₂ of character n-grams up to 6, without spaces."""
    return _sentence_score(_CHRF, text.strip(), reference.strip())


def _sentence_score(metric: BLEU | CHRF, found: str, reference: str) -> float:
    if not found or not reference:
        return 100.0 * (found == reference)
    return float(metric.sentence_score(found, [reference]).score)


def mean(values: Sequence[float]) -> float:
    """0 without any."""
    return sum(values) / len(values) if values else 0.0


def bootstrap_interval(values: Sequence[float], seed: int = 0, draws: int = 1000) -> tuple[float, float]:
    """95 % percentile interval of the mean over rows."""
    generator = random.Random(seed)
    means = sorted(statistics.fmean(generator.choices(values, k=len(values))) for _ in range(draws))
    return means[int(0.025 * draws)], means[int(0.975 * draws)]
