"""The bundle's table of n-grams: counted by hand over small shards, read back, refused where it is damaged."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from green_code.decoding.ngram_table import LENGTHS, NgramTable, read_ngram_table, slot_and_check
from green_code.decoding.prompt_lookup import PromptLookup
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
from green_code_lab.corpus import Corpus, ngrams

VOCABULARY = Vocabulary(*TinySource().vocabulary(None))


def corpus(**shards: list[int]) -> Corpus:
    return Corpus({(name, "train"): np.array(shard, np.uint16) for name, shard in shards.items()}, 0)


def made(of: Corpus, monkeypatch: pytest.MonkeyPatch, least: int = 1, slots: int = 1_000_003) -> NgramTable:
    monkeypatch.setattr(ngrams, "_LEAST_COUNTS", dict.fromkeys(LENGTHS, least))
    parts = ngrams.table({n: ngrams.count(of, n) for n in LENGTHS}, slots)
    return NgramTable(parts["checks"], parts["tokens"], parts["chances"])


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=3), st.integers(1, 2**20))
def test_a_run_and_a_column_of_runs_have_the_same_place(run: list[int], slots: int) -> None:
    columns = [np.array([token, 7], np.uint64) for token in run]
    slot, check = slot_and_check(run, slots)
    assert 0 <= slot < slots and 0 <= check < 65536
    assert tuple(int(column[0]) for column in slot_and_check(columns, slots)) == (slot, check)


def test_what_followed_most_often_is_what_a_count_says(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    shards = {name: generator.integers(1, 5, 400).tolist() for name in ("java", "python")}
    followed: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for shard in shards.values():
        for n in LENGTHS:
            for i in range(len(shard) - n):
                followed[tuple(shard[i : i + n])][shard[i + n]] += 1
    table = made(corpus(**shards), monkeypatch)
    for run, counts in followed.items():
        token, share = table.continuation(run) or (0, 0.0)
        best = counts.most_common(1)[0][1]
        assert counts[token] == best, run  # or a shorter run says the same within a tenth, and was kept alone
        assert share == pytest.approx(best / counts.total(), abs=0.21)


def test_rare_runs_and_unlikely_continuations_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = [1, 2] * 9 + [3, 4] + [token for other in range(10, 30) for token in (5, other)]
    table = made(corpus(python=shard), monkeypatch, least=8)
    assert table.continuation([1]) == (2, 1.0)
    assert table.continuation([3]) is None  # seen once
    assert table.continuation([5]) is None  # twenty continuations, none above a twentieth
    assert table.continuation([9, 9, 1]) == (2, 1.0)  # by the last token alone
    assert table.continuation([]) is None


def test_of_two_runs_in_one_slot_the_more_useful_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    table = made(corpus(python=[1, 2] * 50 + [3, 4] * 5), monkeypatch, slots=1)
    kept = [run for run in ([1], [3], [2]) if table.continuation(run) is not None]
    assert kept in ([[1]], [[2]])


def test_written_and_read_again(tmp_path: Path) -> None:
    said: list[str] = []
    ngrams.write_ngrams(corpus(python=[1, 2] * 30), "mine", tmp_path / "ngrams.safetensors", said.append)
    table = read_ngram_table(tmp_path / "ngrams.safetensors")
    assert (table.continuation([1]), table.vocabulary_digest) == ((2, 1.0), "mine")
    assert "runs kept" in said[0]


def test_what_comes_after_a_documents_end_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    table = made(corpus(python=[0, 5, 6] * 40), monkeypatch)
    assert table.continuation([0]) == (5, 1.0)
    assert table.continuation([6]) is None


def test_vocabularies_are_told_apart() -> None:
    other = Vocabulary(*TinySource().vocabulary(range(len(VOCABULARY) - 1, -1, -1)))
    assert VOCABULARY.digest == Vocabulary(*TinySource().vocabulary(None)).digest != other.digest


@pytest.mark.parametrize(
    "columns", [{}, {"checks": np.uint16}, {"checks": np.uint16, "tokens": np.int32, "chances": np.uint8}]
)
def test_a_damaged_table_is_refused(tmp_path: Path, columns: dict[str, type]) -> None:
    save_file(
        {name: np.zeros(3, kind) for name, kind in columns.items()}, tmp_path / "a", {"vocabulary": "mine"}
    )
    with pytest.raises(ValueError, match=r"cannot be read|columns"):
        read_ngram_table(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"no table")
    with pytest.raises(ValueError, match="cannot be read"):
        read_ngram_table(tmp_path / "b")


def test_the_surer_guess_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    table = made(
        corpus(
            python=[40, 41] * 60 + [50, 51] * 60 + [token for i in range(40) for token in (60, 61 + i % 3)]
        ),
        monkeypatch,
    )
    lookup = PromptLookup(VOCABULARY, 6, table)
    lookup.document.follow([40, 70, 60, 71, 60, 71, 60, 71, 60, 71, 99])
    for last, token in (
        (40, 41),
        (50, 51),
        (60, 71),
    ):  # the corpus; the corpus alone; the document, four times
        draft = lookup.draft([98, last], b"")
        assert draft is not None and draft.token == token
    assert lookup.draft([98, 50], b"\xff") is None  # nothing there agrees with what is required
