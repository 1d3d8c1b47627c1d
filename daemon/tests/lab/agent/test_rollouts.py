"""Recorded rollouts are what plain forwards give, on the source and on the model's own continuation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from green_code.decoding.exit_classifier import unit_rms
from green_code.models.backend import CANDIDATES, LOGIT_RANGE
from green_code.models.sources import open_vocabulary
from green_code.models.tiny import TinySource
from green_code.models.torch_decoder import Decoder
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem
from green_code_lab.agent.baselines import sigmoid
from green_code_lab.agent.record import _bounds, record
from green_code_lab.agent.rollouts import CHUNK, NO_SOURCE, Rollouts, merge_rollouts, open_rollouts, write_rollouts
from green_code_lab.corpus import Corpus
from tests.lab.agent.replayed import rollouts
from tests.models.references import tiny

EXITS = (2, 4)
MARKER, NEWLINE = 1, 2 + 10
DOCUMENT = 200


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return tiny()


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Documents of random bytes with a line break now and then."""
    shards = {}
    for seed, language in enumerate(("java", "python")):
        tokens = np.random.default_rng(seed).integers(32, 127, 4 * DOCUMENT).astype(np.uint16)
        tokens[::11] = NEWLINE
        tokens[::DOCUMENT] = MARKER
        shards[language, "train"] = tokens
    return Corpus(shards, document_marker=MARKER)


@pytest.fixture(scope="module")
def recorded(decoder: Decoder, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Rollouts:
    folder = tmp_path_factory.mktemp("rollouts")
    parts = []
    for language in corpus.languages:
        parts.append(folder / language)
        record(decoder, bytes_vocabulary(), corpus, language, "train", EXITS, 160, 0, parts[-1], "w", lambda _: None)
    return merge_rollouts(folder, parts)


def bytes_vocabulary() -> Vocabulary:
    return open_vocabulary(TinySource(), None)


def forward(decoder: Decoder, tokens: list[int]) -> torch.Tensor:
    """(L, N, C): the states after each layer, all positions at once."""
    x, seen = decoder.embed_tokens(torch.tensor(tokens))[None], []
    for layer in range(1, decoder.config.layers + 1):
        x = decoder.run_layer(layer, x)
        seen.append(x[0].clone())
    return torch.stack(seen)


def test_both_continuations_are_those_of_plain_forwards(decoder: Decoder, corpus: Corpus, recorded: Rollouts) -> None:
    """The first episode of Java: its place is found by its source, and everything in it is computed again."""
    pairs = np.flatnonzero(recorded.episodes == 0)
    forced = [slice(recorded.starts[n], recorded.starts[n + 1]) for n in pairs[1::2]]
    source = np.concatenate([recorded.source_tokens[rows] for rows in forced]).tolist()
    shard = corpus.shards["java", "train"].astype(np.int64).tolist()
    cursor = next(i for i in range(len(shard)) if shard[i : i + len(source)] == source)
    begin = max(i for i in range(cursor) if shard[i] == MARKER)
    text = [1, *shard[begin + 1 : cursor]]
    assert 0.2 <= (cursor - begin) / DOCUMENT <= 0.5
    for n in pairs[::2]:
        greedy = slice(recorded.starts[n], recorded.starts[n + 1])
        given = recorded.final_tokens[greedy].tolist()
        check(decoder, recorded, greedy, text, given)
        chunk = recorded.source_tokens[recorded.starts[n + 1] : recorded.starts[n + 2]].tolist()
        check(decoder, recorded, slice(recorded.starts[n + 1], recorded.starts[n + 2]), text, chunk)
        left = next((i for i, (a, b) in enumerate(zip(given, source, strict=False)) if a != b), len(given))
        known = recorded.source_tokens[greedy].tolist()
        assert known == (source[: left + 1] + [NO_SOURCE] * len(given))[: len(given)]
        text, source = text + chunk, source[len(chunk) :]
    assert not source


def test_what_source_and_model_share_is_run_once(decoder: Decoder, tmp_path: Path) -> None:
    """A source that the model mostly wrote itself, with slips: both continuations are right, and cost less than two."""
    generator = np.random.default_rng(3)
    tokens = [MARKER, *generator.integers(32, 127, 30).tolist()]
    while len(tokens) < 150:
        tokens.append(int(decoder.logits(forward(decoder, tokens)[-1, -1])[: len(bytes_vocabulary())].argmax()))
        if generator.random() < 0.15:
            tokens[-1] = int(generator.integers(32, 127))
    corpus = Corpus(
        {("java", "train"): np.array([MARKER, *tokens, MARKER, *tokens], np.uint16)}, document_marker=MARKER
    )
    with pytest.MonkeyPatch.context() as patch:
        rows, run = [0], Decoder.run_layers

        def counted(self: Decoder, first: int, last: int, buffers: Any, start: int, stop: int) -> None:
            rows[0] += (last + 1 - first) * (stop - start)
            run(self, first, last, buffers, start, stop)

        patch.setattr(Decoder, "run_layers", counted)
        record(decoder, bytes_vocabulary(), corpus, "java", "train", EXITS, 100, 0, tmp_path / "a", "w", lambda _: None)  # fmt: skip
    recorded = open_rollouts(tmp_path / "a")
    assert recorded.first_right.max() > 0
    episode = np.flatnonzero(recorded.episodes == 0)
    source = np.concatenate([recorded.source_tokens[recorded.starts[n] : recorded.starts[n + 1]] for n in episode[1::2]]).tolist()  # fmt: skip
    cursor = next(i for i in range(len(tokens)) if tokens[i : i + len(source)] == source)
    text, agreed = [1, *tokens[1:cursor]], 0
    for n in episode[::2]:
        greedy = slice(recorded.starts[n], recorded.starts[n + 1])
        given = recorded.final_tokens[greedy].tolist()
        chunk = recorded.source_tokens[recorded.starts[n + 1] : recorded.starts[n + 2]].tolist()
        check(decoder, recorded, greedy, text, given)
        check(decoder, recorded, slice(recorded.starts[n + 1], recorded.starts[n + 2]), text, chunk)
        agreed += next((i for i, (a, b) in enumerate(zip(given, chunk, strict=False)) if a != b), len(chunk))
        text += chunk
    assert agreed > len(source) / 4
    layers = decoder.config.layers
    assert rows[0] < layers * (len(recorded.final_tokens) + 2 * cursor)


def check(decoder: Decoder, recorded: Rollouts, rows: slice, text: list[int], following: list[int]) -> None:
    seen = forward(decoder, text + following[:-1])[:, len(text) - 1 :]
    logits = decoder.logits(seen)[..., : len(bytes_vocabulary())].float()
    tops, exits = logits.argmax(-1).numpy(), [depth - 1 for depth in EXITS]
    assert recorded.final_tokens[rows].tolist() == tops[-1].tolist()
    assert recorded.exit_tokens[rows].T.tolist() == tops[exits].tolist()
    assert recorded.first_right[rows].tolist() == [
        1 + next(i for i in range(len(tops)) if tops[i, n] == tops[-1, n]) for n in range(tops.shape[1])
    ]
    wanted = unit_rms(seen[exits].numpy()).swapaxes(0, 1)
    np.testing.assert_allclose(recorded.states[rows], wanted, atol=2e-2)
    candidates = logits[exits].topk(CANDIDATES).values
    near = candidates > candidates[..., :1] - LOGIT_RANGE
    shares = candidates.where(near, -torch.inf).softmax(-1).amax(-1).T.numpy()
    np.testing.assert_allclose(sigmoid(recorded.log_odds[rows]), shares, atol=1e-2)
    first, second = logits[exits].topk(2).values.unbind(-1)
    np.testing.assert_allclose(recorded.margins[rows], (first - second).clamp(max=LOGIT_RANGE).T.numpy(), atol=1e-2)


def test_chunks_end_where_completions_do(recorded: Rollouts) -> None:
    lengths = np.diff(recorded.starts)
    assert lengths.max() <= CHUNK
    assert lengths.sum() == len(recorded.final_tokens) == len(recorded.states)
    assert recorded.greedy.tolist() == [True, False] * (len(lengths) // 2)
    breaks = {i for i, text in enumerate(bytes_vocabulary().token_bytes) if b"\n" in text}
    for given, rows in ((recorded.final_tokens, recorded.greedy), (recorded.source_tokens, ~recorded.greedy)):
        for n in np.flatnonzero(rows):
            inside = given[recorded.starts[n] : recorded.starts[n + 1] - 1].tolist()
            assert not breaks & set(inside)


def test_languages_are_joined_in_order(recorded: Rollouts, corpus: Corpus) -> None:
    assert sorted(set(recorded.languages.tolist())) == [0, 1]
    assert (np.diff(recorded.languages) >= 0).all()
    assert all(160 <= positions < 160 + 2 * CHUNK for positions in np.bincount(recorded.languages)), "as many as asked"
    assert (np.diff(recorded.episodes) >= 0).all()
    assert len(set(recorded.languages[recorded.starts[:-1][recorded.episodes == 0]])) == 1


@pytest.mark.parametrize("missing", ["rollouts.json", "tokens.npz", "states.bin"])
def test_a_folder_that_was_cut_off_names_the_command(tmp_path: Path, missing: str) -> None:
    (tmp_path / "rollouts.json").write_text(json.dumps({"exits": [2], "layers": 6, "width": 8, "weights": ""}))
    (tmp_path / missing).unlink(missing_ok=True)
    with pytest.raises(Problem, match="green-code train rollouts"):
        open_rollouts(tmp_path)


def test_rollouts_of_another_bundle_are_refused(recorded: Rollouts, tmp_path: Path) -> None:
    write_rollouts(tmp_path / "r", recorded)
    assert open_rollouts(tmp_path / "r", "w").weights == "w"
    with pytest.raises(Problem, match=r"another bundle.*green-code train rollouts"):
        open_rollouts(tmp_path / "r", "v")


def test_parts_that_were_recorded_otherwise_are_refused(recorded: Rollouts) -> None:
    recorded.check_like(recorded)
    with pytest.raises(Problem, match=r"exits .* and at .*green-code train rollouts"):
        recorded.check_like(replace(recorded, exits=(2, 5)))


def test_no_document_is_in_two_parts(corpus: Corpus) -> None:
    starts = np.arange(40) * DOCUMENT
    train, validation = (set(_bounds(starts, 40 * DOCUMENT, part)) for part in ("train", "validation"))
    assert not train & validation
    assert len(train | validation) == 40
    assert len(validation) == 4


def test_a_shard_without_a_long_document_is_refused(decoder: Decoder, tmp_path: Path) -> None:
    short = Corpus({("java", "train"): np.tile([MARKER, *range(40, 60)], 9)}, document_marker=MARKER)
    with pytest.raises(Problem, match="gather more code"):
        record(decoder, bytes_vocabulary(), short, "java", "train", EXITS, 9, 0, tmp_path, "w", lambda _: None)


def test_errors_by_hand() -> None:
    """A difference counts 1, 1 more if the source's token is lost by it, 1 less if it is won."""
    final, source = np.array([7, 7, 7, 7, 7, 7]), np.array([7, 1, 3, 7, NO_SOURCE, NO_SOURCE])
    exit_tokens = np.array([[1, 7], [1, 7], [1, 7], [1, 7], [1, 7], [7, 7]])
    errors = rollouts(exit_tokens, final, source, chunk=2).errors
    assert errors[:4].tolist() == [[2, 0], [0, 0], [1, 0], [2, 0]]
    assert errors[4:].tolist() == [[1.25, 0], [0, 0]]  # of four known differences one won, two lost
