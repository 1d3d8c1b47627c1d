"""Shards hold what was given and no more; a corpus that cannot serve is refused before it is used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from green_code.models.sources import open_vocabulary
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Pieces, Vocabulary, build_tokenizer
from green_code.problems import Problem
from green_code_lab.corpus.shards import open_corpus, write_shards
from green_code_lab.corpus.split import Parts
from tests.lab.corpus.samples import file

VOCABULARY = open_vocabulary(TinySource(), None)
TRAINED, HELD = ["train me " * 40, "and me, é " * 30], ["hold me " * 40]


def parts(language: str = "python") -> Parts:
    return {
        (language, "train"): [file("mine", text, language=language) for text in TRAINED],
        (language, "heldout"): [file("numpy", text, language=language) for text in HELD],
    }


def write(folder: Path, content: Parts, tokens: int = 10_000, minimum: int = 10) -> dict[str, Any]:
    return write_shards(folder, content, VOCABULARY, tokens, minimum, 1, {"seed": 1})


def test_shards_hold_the_documents_each_after_its_marker(tmp_path: Path) -> None:
    summary = write(tmp_path, parts())
    corpus = open_corpus(tmp_path, VOCABULARY, 64, 64)
    shard = corpus.shards["python", "train"]
    starts = corpus.document_starts("python", "train")
    assert isinstance(shard, np.memmap) and shard.dtype == np.uint16
    documents = np.split(shard, starts[1:])
    assert [VOCABULARY.decode(d[1:].tolist()) for d in documents] == TRAINED
    assert {int(d[0]) for d in documents} == {VOCABULARY.bos}
    assert VOCABULARY.decode(corpus.shards["python", "heldout"].tolist()) == HELD[0]
    assert summary["projects"]["mine 1"] == {"licence": "MIT", "parts": {"train": 2}}
    listed = [json.loads(line) for line in (tmp_path / "files.jsonl").read_text().splitlines()]
    assert [(row["project"], row["part"], row["licence"]) for row in listed] == [
        ("mine", "train", "MIT"),
        ("mine", "train", "MIT"),
        ("numpy", "heldout", "MIT"),
    ]


def test_ids_of_a_large_vocabulary_fit(tmp_path: Path) -> None:
    """Llama 3 has 128,256 tokens, more than 16 bits tell apart."""
    pieces = TinySource()._pieces()
    first, second = ([chr(base + i) for i in range(300)] for base in (0x4E00, 0x5E00))
    more = [*first, *second, *(a + b for a in first for b in second)]
    large = Pieces(
        [*pieces.texts, *more],
        [*pieces.scores, *(-1e6 - i for i in range(len(more)))],
        [*pieces.kinds, *[1] * len(more)],
        pieces.bos,
        pieces.eos,
    )
    vocabulary = Vocabulary(build_tokenizer(large), pieces.bos, pieces.ends)
    text = f"x = '{more[-1]}'\n" * 20
    content = {("python", part): [file("mine", text)] for part in ("train", "heldout")}
    write_shards(tmp_path, content, vocabulary, 1000, 10, 1, {})
    shard = open_corpus(tmp_path, vocabulary, 10, 10).shards["python", "train"]
    assert shard.max() > 1 << 16
    assert vocabulary.decode(shard[1:].tolist()) == text


def test_languages_stop_at_the_same_number_of_tokens(tmp_path: Path) -> None:
    content = parts() | parts("java")
    content["python", "train"] *= 50
    content["java", "train"] *= 20
    summary = write(tmp_path, content, tokens=5_000)
    for language in ("python", "java"):
        assert 5_000 <= summary["shards"][f"{language}-train"]["tokens"] < 5_400
        assert summary["shards"][f"{language}-heldout"]["tokens"] < 700


def test_a_language_of_few_files_is_left_out_and_listed(tmp_path: Path) -> None:
    content = parts() | {("java", "train"): [file("mine", "class A {}", language="java")], ("java", "heldout"): []}
    assert list(write(tmp_path, content)["left_out"]) == ["java"]
    assert open_corpus(tmp_path, VOCABULARY, 1, 1).languages == ("python",)


@pytest.mark.parametrize("content", [{}, {("python", "train"): [], ("python", "heldout"): []}, parts()])
def test_too_little_code_is_reported(tmp_path: Path, content: Parts) -> None:
    with pytest.raises(Problem, match=r"the corpus is too small: .* at least 100000"):
        write(tmp_path, content, minimum=100_000)
    assert list(tmp_path.iterdir()) == []


def test_a_new_corpus_replaces_all_of_the_old(tmp_path: Path) -> None:
    write(tmp_path, parts() | parts("java"))
    write(tmp_path, parts())
    assert {path.name for path in tmp_path.iterdir()} == {
        "python-train.bin",
        "python-heldout.bin",
        "files.jsonl",
        "corpus.json",
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device without room")
@pytest.mark.parametrize("name", ["python-heldout.bin.part", "corpus.json.part"])
def test_a_disk_that_fills_up_leaves_the_older_corpus(tmp_path: Path, name: str) -> None:
    write(tmp_path, parts())
    before = contents(tmp_path)
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(Problem, match=r"cannot be written to .* \(No space left on device\).*MB") as caught:
        write(tmp_path, parts("java") | parts())
    assert caught.value.reason == "cache_unwritable" and str(tmp_path) in str(caught.value)
    assert contents(tmp_path) == before


def test_a_disk_without_room_is_said_before_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000))
    monkeypatch.setattr(VOCABULARY, "encode", lambda _: pytest.fail("encoded all the same"))
    with pytest.raises(Problem, match="0 MB are free"):
        write(tmp_path, parts())


def test_a_corpus_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    write(tmp_path, parts())
    pieces = TinySource()._pieces()
    texts = list(pieces.texts)
    texts[-1], texts[-2] = texts[-2], texts[-1]  # as many ids, two of which mean something else
    other = build_tokenizer(Pieces(texts, pieces.scores, pieces.kinds, pieces.bos, pieces.eos))
    with pytest.raises(Problem, match="another tokenizer"):
        open_corpus(tmp_path, Vocabulary(other, pieces.bos, pieces.ends), 1, 1)


def test_a_corpus_that_is_missing_cut_or_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="has no corpus; run `green-code adapt corpus`"):
        open_corpus(tmp_path, VOCABULARY, 1, 1)
    write(tmp_path, parts())
    with pytest.raises(Problem, match=r"python-train\.bin has \d+ tokens, and at least 100000"):
        open_corpus(tmp_path, VOCABULARY, 100_000, 1)
    with pytest.raises(Problem, match=r"python-heldout\.bin has"):
        open_corpus(tmp_path, VOCABULARY, 1, 100_000)
    shard = tmp_path / "python-train.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(Problem, match=r"python-train\.bin has \d+ bytes instead of"):
        open_corpus(tmp_path, VOCABULARY, 1, 1)


@pytest.mark.parametrize("content", ["", "[]", '{"vocabulary": 394, "shards": {}}'])
def test_a_damaged_or_older_description_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(Problem, match="damaged or of an older version"):
        open_corpus(tmp_path, VOCABULARY, 1, 1)
