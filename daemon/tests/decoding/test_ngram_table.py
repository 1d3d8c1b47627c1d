"""The bundle's n-gram table: what it finds, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from green_code.decoding.ngram_table import NgramTable, read_ngram_table, slot_and_check
from tests.decoding.ngram_tables import columns


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=3), st.integers(1, 2**20))
def test_an_ngram_and_an_array_of_ngrams_have_the_same_slot(ngram: list[int], slots: int) -> None:
    arrays = [np.array([token, 7], np.uint64) for token in ngram]
    slot, check = slot_and_check(ngram, slots)
    assert 0 <= slot < slots and 0 <= check < 65536
    assert tuple(int(array[0]) for array in slot_and_check(arrays, slots)) == (slot, check)


def test_the_longest_known_ngram_gives_the_continuation() -> None:
    table = NgramTable(**columns({(1,): (2, 1.0), (9, 1): (3, 0.6), (8, 9, 1): (4, 0.2)}))
    for context, token, share in (([1], 2, 1.0), ([7, 1], 2, 1.0), ([7, 9, 1], 3, 0.6), ([5, 8, 9, 1], 4, 0.2)):
        assert table.continuation(context) == (token, pytest.approx(share))
    assert table.continuation([1, 9]) is None
    assert table.continuation([]) is None


def test_another_ngram_in_the_same_slot_is_not_found() -> None:
    table = NgramTable(**columns({(1,): (2, 1.0), (3,): (4, 1.0)}, slots=1))
    assert table.continuation([1]) is None
    assert table.continuation([3]) == (4, 1.0)


def test_a_table_is_read_with_its_vocabularys_digest(tmp_path: Path) -> None:
    save_file(columns({(1,): (2, 1.0)}), tmp_path / "ngrams.safetensors", {"vocabulary": "mine"})
    table = read_ngram_table(tmp_path / "ngrams.safetensors")
    assert (table.continuation([1]), table.vocabulary_digest) == ((2, 1.0), "mine")


@pytest.mark.parametrize(
    "types", [{}, {"checks": np.uint16}, {"checks": np.uint16, "tokens": np.int32, "chances": np.uint8}]
)
def test_a_table_with_other_columns_is_refused(tmp_path: Path, types: dict[str, type]) -> None:
    save_file({name: np.zeros(3, kind) for name, kind in types.items()}, tmp_path / "table")
    with pytest.raises(ValueError, match=r"it lacks checks|it lacks tokens|columns"):
        read_ngram_table(tmp_path / "table")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"no table")
    with pytest.raises(ValueError, match="header"):
        read_ngram_table(tmp_path / "table")
