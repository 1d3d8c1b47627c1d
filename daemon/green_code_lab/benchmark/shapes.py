"""What a model of a shape takes: seconds and peak memory of its conversion, bytes on the disk, seconds and memory to serve.

    python -m green_code_lab.benchmark.shapes llama-3.2-3b qwen2.5-coder-3b

The weights are random, in the shape of a catalog row and in the hub's layout: config.json, tokenizer.json, shards of safetensors in
bfloat16. They are written to a temporary folder and removed. Conversion and service run in processes of their own, as they do for
people, and the peak is the kernel's count of what such a process has ever held.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np

from green_code.engine.conversion import convert_apart
from green_code.kernels.weight_format import weight_formats
from green_code.models.bfloat16 import narrow
from green_code.models.catalog import find_model
from green_code.models.rows import ROWS, Shape
from green_code.models.safetensors_files import INDEX
from green_code.models.weights import open_model

_FAMILIES: Final = {
    "llama": "llama", "qwen2.5": "qwen2", "starcoder2": "starcoder2", "opt": "opt", "codegemma": "gemma", "granite": "llama",
    "mellum": "llama", "smollm2": "llama", "gemma-3": "gemma3_text",
}  # fmt: skip
"""The beginning of a row's name → `model_type`."""
_SHARD_BYTES = 5 << 30  # as the hub's
_BLOCK = 1 << 24  # random numbers, which are repeated
_COLUMNS: Final = (
    ("conversion, s", "conversion_seconds", 1), ("peak, GB", "conversion_peak", 1e9), ("largest weight, GB", "largest", 1e9),
    ("on disk, GB", "disk", 1e9), ("open, s", "open_seconds", 1), ("first token, s", "token_seconds", 1),
    ("resident, GB", "resident", 1e9),
)  # fmt: skip


def write_random(name: str, folder: Path) -> int:
    """A checkpoint of a row's shape. Returns the bytes of its largest tensor in float32."""
    from transformers import AutoConfig

    shape = ROWS[name].shape
    family = next(family for start, family in _FAMILIES.items() if name.startswith(start))
    config = AutoConfig.for_model(family, **_sizes(family, shape))
    config.save_pretrained(folder)
    _write_tokenizer(shape.vocabulary, folder)
    shapes = tensor_shapes(config)
    write_shards(shapes, folder)
    return 4 * max(map(prod, shapes.values()))


def tensor_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Of a checkpoint's tensors, by transformers' configuration; a tied head has none of its own."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    return {key: tuple(weight.shape) for key, weight in model.state_dict().items() if key not in tied}


def _sizes(family: str, shape: Shape) -> dict[str, Any]:
    common = {
        "vocab_size": shape.vocabulary, "hidden_size": shape.width, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "tie_word_embeddings": shape.tied, "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    if family == "opt":
        return {**common, "ffn_dim": shape.mlp_width, "word_embed_proj_dim": shape.width}
    return {
        **common, "intermediate_size": shape.mlp_width, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_width,
        "max_position_embeddings": 8192,
    }  # fmt: skip


def _write_tokenizer(tokens: int, folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # transformers adds the third for Qwen, where it is missing.
    pieces = ["<s>", "</s>", "<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    pieces += [f"token {i}" for i in range(tokens - len(pieces))]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)


def write_shards(shapes: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Random weights in bfloat16, in files of safetensors and their index."""
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    for key, shape in shapes.items():
        if shards[-1] and 2 * sum(map(prod, (*shards[-1].values(), shape))) > _SHARD_BYTES:
            shards.append({})
        shards[-1][key] = shape
    names = [f"model-{n + 1:05}-of-{len(shards):05}.safetensors" for n in range(len(shards))]
    block, one = (narrow(numbers) for numbers in (random_block(), np.ones(1, np.float32)))
    for name, shard in zip(names, shards, strict=True):
        with (folder / name).open("wb") as file:
            header, at = dict[str, Any](), 0
            for key, shape in shard.items():
                header[key] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * prod(shape)]}
                at = header[key]["data_offsets"][1]
            text = json.dumps(header).encode()
            file.write(len(text).to_bytes(8, "little") + text)
            for key, shape in shard.items():
                for part in numbers_of(key, prod(shape), block, one):
                    file.write(part.data)
    index = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))


def random_block() -> np.ndarray:
    """What weights are made of, float32."""
    return np.asarray(np.random.default_rng(0).standard_normal(_BLOCK, np.float32) * np.float32(0.02))


def numbers_of(key: str, count: int, block: np.ndarray, one: np.ndarray) -> Iterator[np.ndarray]:
    """Parts of a tensor's numbers: of the block, from another place for each tensor, so that layers differ. Stored gains are 1,
    biases 0.

    Args:
        block: `random_block` in the type that is written. one: (1,), 1 in that type.
    """
    if "norm" in key or key.endswith(".bias"):
        yield np.tile(one if key.endswith(".weight") else np.zeros(1), count).astype(one.dtype)
        return
    at = zlib.crc32(key.encode()) % len(block)
    while count:
        part = block[at : at + count]
        yield part
        count, at = count - len(part), 0


def measure(name: str, work: Path) -> dict[str, float]:
    """Write, convert and open a model of a row's shape. Sizes are bytes."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        published, cache = Path(folder, "published"), Path(folder, "cache")
        published.mkdir()
        largest = write_random(name, published)
        converted = _measured("convert", published, cache)
        served = _measured("serve", published, cache)
        disk = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    return {
        "largest": largest, "disk": disk, "conversion_seconds": converted["seconds"], "conversion_peak": converted["peak"],
        "open_seconds": served["seconds"], "token_seconds": served["token"], "resident": served["resident"],
    }  # fmt: skip


def _measured(part: str, published: Path, cache: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "green_code_lab.benchmark.shapes", f"--{part}", str(published)]
    environment = {**os.environ, "GREEN_CODE_CACHE_DIR": str(cache)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _convert(published: Path) -> dict[str, float]:
    start = time.perf_counter()
    open_model(find_model(str(published)), None, weight_formats(), converter=convert_apart)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": time.perf_counter() - start, "peak": 1024 * children.ru_maxrss}


def _serve(published: Path) -> dict[str, float]:
    import psutil

    from green_code.decoding.kv_cache import KVCache

    start = time.perf_counter()
    model = open_model(find_model(str(published)), None, weight_formats())
    opened = time.perf_counter()
    cache = KVCache(model.decoder)
    cache.append([5, 6, 7])
    cache.advance(2, model.decoder.config.layers)
    cache.top_tokens([2], model.decoder.config.layers)
    memory = psutil.Process().memory_info().rss
    return {"seconds": opened - start, "token": time.perf_counter() - opened, "resident": memory}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of the catalog: {', '.join(ROWS)}")
    parser.add_argument("--work", type=Path, default=None, help="folder with room for the weights, twice")
    for part in ("convert", "serve"):
        parser.add_argument(f"--{part}", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    for part, function in ((args.convert, _convert), (args.serve, _serve)):
        if part is not None:
            print(json.dumps(function(part)))
            return 0
    if unknown := [name for name in args.names if name not in ROWS]:
        parser.error(f"{unknown[0]} is not in the catalog")
    print(f"| model | {' | '.join(heading for heading, _, _ in _COLUMNS)} |")
    print(f"| :-- |{' --: |' * len(_COLUMNS)}")
    for name in args.names:
        figures = measure(name, args.work)
        print(f"| {name} | {' | '.join(f'{figures[key] / unit:.2f}' for _, key, unit in _COLUMNS)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
