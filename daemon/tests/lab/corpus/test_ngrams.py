"""N-grams of a corpus, against counts by hand over small shards."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from green_code.decoding.ngram_table import LENGTHS, NgramTable, read_ngram_table
from green_code_lab.corpus import Corpus, ngrams


def corpus(**shards: list[int]) -> Corpus:
    return Corpus({(name, "train"): np.array(shard, np.uint32) for name, shard in shards.items()}, 0)


def table_of(
    counted: Corpus, monkeypatch: pytest.MonkeyPatch, least_count: int = 1, slots: int = 1_000_003
) -> NgramTable:
    monkeypatch.setattr(ngrams, "_LEAST_COUNTS", dict.fromkeys(LENGTHS, least_count))
    ids = ngrams.frequent_ids(counted)
    columns = ngrams.table({n: ngrams.count(counted, n, ids) for n in LENGTHS}, slots, ids)
    return NgramTable(columns["checks"], columns["tokens"], columns["chances"])


def test_the_continuation_is_the_most_frequent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    shards = {name: generator.integers(1, 5, 400).tolist() for name in ("java", "python")}
    continuations: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for shard in shards.values():
        for n in LENGTHS:
            for i in range(len(shard) - n):
                continuations[tuple(shard[i : i + n])][shard[i + n]] += 1
    table = table_of(corpus(**shards), monkeypatch)
    for ngram, counts in continuations.items():
        token, share = table.continuation(ngram) or (0, 0.0)
        highest = counts.most_common(1)[0][1]
        # A shorter n-gram with the same continuation and a share within a tenth replaces it.
        assert counts[token] == highest, ngram
        assert share == pytest.approx(highest / counts.total(), abs=0.21)


def test_rare_ngrams_and_unlikely_continuations_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = [1, 2] * 9 + [3, 4] + [token for other in range(10, 30) for token in (5, other)]
    table = table_of(corpus(python=shard), monkeypatch, least_count=8)
    assert table.continuation([1]) == (2, 1.0)
    assert table.continuation([3]) is None  # occurs once
    assert table.continuation([5]) is None  # twenty continuations, each with a share of a twentieth
    assert table.continuation([9, 9, 1]) == (2, 1.0)  # by the last token alone
    assert table.continuation([]) is None


def test_of_two_ngrams_in_one_slot_the_more_useful_one_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(corpus(python=[1, 2] * 50 + [3, 4] * 5), monkeypatch, slots=1)
    kept = [ngram for ngram in ([1], [3], [2]) if table.continuation(ngram) is not None]
    assert kept in ([[1]], [[2]])


def test_a_written_table_is_read_again(tmp_path: Path) -> None:
    lines: list[str] = []
    ngrams.write_ngrams(corpus(python=[1, 2] * 30), "mine", tmp_path / "ngrams.safetensors", lines.append)
    table = read_ngram_table(tmp_path / "ngrams.safetensors")
    assert (table.continuation([1]), table.vocabulary_digest) == ((2, 1.0), "mine")
    assert "kept" in lines[0]


def test_what_follows_the_end_of_a_document_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(corpus(python=[0, 5, 6] * 40), monkeypatch)
    assert table.continuation([0]) == (5, 1.0)
    assert table.continuation([6]) is None


def test_ids_of_a_large_vocabulary_are_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens beyond the most frequent ones are in no run, and do not hide those around them."""
    monkeypatch.setattr(ngrams, "_MOST_TOKENS", 4)
    large, rare = [150_001, 70_000, 8], [90_000]
    ngrams.write_ngrams(corpus(python=(large * 30 + rare) * 3), "mine", tmp_path / "ngrams.safetensors", lambda _: None)
    table = read_ngram_table(tmp_path / "ngrams.safetensors")
    assert table.continuation([150_001]) == (70_000, 1.0)
    assert table.continuation([70_000, 8]) == (150_001, pytest.approx(29 / 30, abs=0.01))
    assert table.greatest_token == 150_001

    monkeypatch.setattr(ngrams, "_MOST_TOKENS", 3)
    ngrams.write_ngrams(corpus(python=(large * 30 + rare) * 3), "mine", tmp_path / "ngrams.safetensors", lambda _: None)
    table = read_ngram_table(tmp_path / "ngrams.safetensors")
    assert (table.continuation(rare), table.continuation([8])) == (None, (150_001, 1.0))
