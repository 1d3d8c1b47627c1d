"""Tokenizers of folders, as transformers reads them: its own classes, and files without tokenizer.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import GemmaTokenizer, GPT2Tokenizer, LlamaTokenizer, Qwen2Tokenizer

from green_code.models.hugging_face import FolderSource
from green_code.models.vocabulary import Vocabulary
from tests.models.references import FIM, byte_level_tokenizer, save_folder, sentencepiece_tokenizer


def test_a_tokenizer_of_two_files_is_read_as_opt_has_it(tmp_path: Path) -> None:
    """vocab.json and merges.txt, without tokenizer.json; its start token is said in tokenizer_config.json alone."""
    whole = save_folder(tmp_path, "opt", byte_level_tokenizer("qwen"))
    model = json.loads((whole / "tokenizer.json").read_text())["model"]
    (whole / "tokenizer.json").unlink()
    start = len(model["vocab"])
    (whole / "vocab.json").write_text(json.dumps({**model["vocab"], "</s>": start}))
    (whole / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, model["merges"])]))
    names = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "add_bos_token": True}
    (whole / "tokenizer_config.json").write_text(json.dumps({**names, "tokenizer_class": "GPT2Tokenizer"}))
    config = json.loads((whole / "config.json").read_text())
    (whole / "config.json").write_text(json.dumps({**config, "eos_token_id": start}))
    vocabulary = Vocabulary(*FolderSource(whole).vocabulary(None))
    assert vocabulary.bos == start
    assert start in vocabulary.eos
    assert vocabulary.encode("def add") == byte_level_tokenizer("qwen")("def add").input_ids


def hub_tokenizer(kind: type[Any]) -> Any:
    """A tokenizer of one of transformers' own classes, which many folders on the hub name."""
    like = (
        sentencepiece_tokenizer("llama") if kind in (LlamaTokenizer, GemmaTokenizer) else byte_level_tokenizer("qwen")
    )
    model = json.loads(like.backend_tokenizer.to_str())["model"]
    names = list(model["vocab"])
    if kind is GemmaTokenizer:
        names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *names[3:]]
    starts = {"add_bos_token": True} if like.bos_token else {}
    vocabulary = {name: i for i, name in enumerate(names)}
    made = kind(vocab=vocabulary, merges=[tuple(pair) for pair in model["merges"]], **starts)
    made.add_special_tokens({"additional_special_tokens": list(FIM["qwen"])})
    return made


@pytest.mark.parametrize(
    ("kind", "family"),
    [(Qwen2Tokenizer, "qwen2"), (GPT2Tokenizer, "starcoder2"), (LlamaTokenizer, "llama"), (GemmaTokenizer, "gemma")],
)
def test_the_hubs_own_tokenizers_lose_no_text(kind: type[Any], family: str, tmp_path: Path) -> None:
    theirs = hub_tokenizer(kind)
    vocabulary = Vocabulary(*FolderSource(save_folder(tmp_path, family, theirs)).vocabulary(None))
    text = "def add(first, second):\n    return  first + second\n\tx = 'é日▁'\r\n"
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.bos == (theirs.bos_token_id if kind in (LlamaTokenizer, GemmaTokenizer) else None)
    assert vocabulary.fim is not None
    if kind is not LlamaTokenizer:  # which puts a space before a text
        assert vocabulary.encode("return first\n") == theirs("return first\n", add_special_tokens=False).input_ids
