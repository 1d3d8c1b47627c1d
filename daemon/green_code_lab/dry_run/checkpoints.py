"""Random weights in the layouts in which the hub has Llama 3.2 and OPT, where `green-code models get` puts what it has downloaded.

Llama: shards of safetensors in bfloat16, tokenizer.json. OPT: one pickled file in float16, keys of the body alone, and a tokenizer of two
files without tokenizer.json. The tokenizer has the model's number of tokens; only the first few thousand are trained, on Green Code itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np

import green_code
from green_code.models import store
from green_code.models.hashes import sha256_of
from green_code.models.rows import ROWS, Shape
from green_code_lab.benchmark.shapes import numbers_of, random_block, tensor_shapes, write_shards

SOURCES: Final = tuple(
    Path(green_code.__file__).parent / part for part in ("decoding", "energy", "engine", "link", "lsp", "models")
)
"""Folders of code that are there wherever Green Code is."""
_TRAINED = 4_096  # tokens
_LLAMA_SPECIAL, _OPT_UNUSED = 256, 7  # the last tokens: special ones; rows of the embedding that are no tokens
_OPT_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_MULTIPLE = 64


def narrower(shape: Shape, width: int, vocabulary: int) -> Shape:
    """The same layers with fewer numbers."""
    heads = max(1, width // 16)
    mlp_width = -(-shape.mlp_width * width // (shape.width * _MULTIPLE)) * _MULTIPLE
    kv_heads = heads if shape.kv_heads == shape.heads else max(1, heads // 2)
    return replace(
        shape, width=width, heads=heads, kv_heads=kv_heads, head_width=16, mlp_width=mlp_width, vocabulary=vocabulary
    )


def provide(name: str, shape: Shape) -> Path:
    """Write a checkpoint of a shape as if `green-code models get` had downloaded the catalog's model `name`; returns its folder."""
    row = ROWS[name]
    folder = store.folder_of(row)
    folder.mkdir(parents=True, exist_ok=True)
    (_write_opt if row.pickled else _write_llama)(shape, folder)
    found = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    store.write_receipt(folder, {"name": name, "place": "random weights", "files": found})
    return folder


def _write_llama(shape: Shape, folder: Path) -> None:
    begin, end = shape.vocabulary - _LLAMA_SPECIAL, shape.vocabulary - _LLAMA_SPECIAL + 1
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu",
        "vocab_size": shape.vocabulary, "hidden_size": shape.width, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_width,
        "intermediate_size": shape.mlp_width, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
        "rope_scaling": {
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": shape.tied, "bos_token_id": begin, "eos_token_id": end,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    write_shards(tensor_shapes(_configuration(config)), folder)
    _write_llama_tokenizer(begin, folder)


def _write_llama_tokenizer(ordinary: int, folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    vocabulary, merges = _pieces((), ordinary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    special += [f"<|reserved_special_token_{i}|>" for i in range(_LLAMA_SPECIAL - len(special))]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    begin = special[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, ordinary)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": begin, "eos_token": special[1]}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


def _write_opt(shape: Shape, folder: Path) -> None:
    import torch

    config = {
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "torch_dtype": "float16", "activation_function": "relu",
        "vocab_size": shape.vocabulary, "hidden_size": shape.width, "word_embed_proj_dim": shape.width,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "ffn_dim": shape.mlp_width,
        "max_position_embeddings": 2048, "do_layer_norm_before": True, "_remove_final_layer_norm": False, "prefix": "</s>",
        "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    block, one = random_block().astype(np.float16), np.ones(1, np.float16)
    tensors = {
        key.removeprefix("model."): torch.from_numpy(
            np.concatenate(list(numbers_of(key, prod(size), block, one))).reshape(size)
        )
        for key, size in tensor_shapes(_configuration(config)).items()
    }
    torch.save(tensors, folder / "pytorch_model.bin")
    vocabulary, merges = _pieces(_OPT_SPECIAL, shape.vocabulary - _OPT_UNUSED)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n", "utf-8")
    about = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**about, "add_bos_token": True, "add_prefix_space": False}))  # fmt: skip


def _configuration(config: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(**config)


def _pieces(special: tuple[str, ...], count: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """`count` tokens with their ids, the special ones first, and the merges of those that text is encoded with."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=min(_TRAINED, count - len(special)), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    pieces = [*special, *sorted(model["vocab"], key=model["vocab"].__getitem__)]
    pieces += [f"unused{i}" for i in range(count - len(pieces))]
    return {piece: i for i, piece in enumerate(pieces)}, [tuple(merge) for merge in model["merges"]]


def _texts() -> Iterator[str]:
    for folder in SOURCES:
        for path in sorted(folder.rglob("*.py")):
            yield path.read_text("utf-8")
