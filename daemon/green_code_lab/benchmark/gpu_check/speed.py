"""How quick is it, against what reading the weights takes, against transformers with torch.compile, and against llama.cpp?"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from typing import Any

import numpy as np
import torch

from green_code.decoding.exit_classifier import ExitClassifier, parameter_shapes
from green_code.decoding.exit_policies import ExitView, agent_for
from green_code.decoding.kv_cache import KVCache
from green_code.gpu.decoder import GpuDecoder
from green_code.kernels.packing import Extras
from green_code.models.config import ModelConfig
from green_code_lab.benchmark.gpu_check.where import Where
from green_code_lab.benchmark.gpu_shapes import PAPER, SHAPES

GGUF_VARIABLE = "GREEN_CODE_CHECK_GGUF"
_LENGTHS = (256, 2048)
_TOKENS = 64
_COPIED = 1 << 31  # bytes


def run(where: Where) -> list[dict[str, Any]]:
    """A row for each model, number of bits and length of the text; then a row for each other engine."""
    bandwidth = _bandwidth(where)
    rows: list[dict[str, Any]] = []
    for name, published in SHAPES.items():
        for bits in (8, 4) if name in PAPER and where.is_card else (8,):
            config = where.shape(published)
            depth = config.layers // 2
            decoder = where.decoder(config, bits, Extras((depth,), (), 128 if where.is_card else 0))
            for length in _LENGTHS if where.is_card else (4,):
                row = {"engine": "Green Code", "model": name, "bits": bits, "positions": length}
                row |= _decoded(where, decoder, length, depth, bandwidth)
                print(row, flush=True)
                rows.append(row)
            decoder.close()
    for name in PAPER:
        rows.append({"engine": "transformers, torch.compile", "model": name, "bits": 16, **_compiled(where, name)})
        print(rows[-1], flush=True)
    if (other := _llama_cpp()) is not None:
        rows.append({"engine": "llama.cpp", **other})
        print(rows[-1], flush=True)
    return rows


def _bandwidth(where: Where) -> float:
    """Bytes a second that a copy on the device reads and writes; 0 on the stand-in."""
    if not where.is_card:
        return 0.0
    source = torch.empty(_COPIED, dtype=torch.uint8, device="cuda")
    target, taken = torch.empty_like(source), []
    for _ in range(6):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return 2 * _COPIED / min(taken)


def bytes_read(decoder: GpuDecoder, length: int) -> int:
    """By a token at full depth behind so many positions: the layers' weights, the preview or the head, keys and values."""
    c, weights = decoder.config, decoder.weights
    read = [matrix for name, matrix in weights.matrices.items() if "lens" not in name and "kv_projection" not in name]
    parts = sum(sum(p.nbytes for p in {id(p): p for p in (m.codes, m.scales, m.minima)}.values()) for m in read)
    width = decoder.plan.dtype.itemsize
    kept = sum(min(length, window or length) for window in c.windows)
    return parts + 2 * kept * c.kv_heads * c.head_width * width


def _decoded(where: Where, decoder: GpuDecoder, length: int, depth: int, bandwidth: float) -> dict[str, Any]:
    tokens = _TOKENS if where.is_card else 2
    cache = KVCache(decoder)
    cache.append([1] * length)
    cache.advance(length - 1, decoder.config.layers)
    generator = np.random.default_rng(0)
    shapes = parameter_shapes(decoder.config.width, 1)
    parameters = {name: generator.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    agent = agent_for(ExitClassifier((depth,), parameters), decoder)

    def token(policy: str) -> float:
        """Seconds of a token; "agent": it decides half-way, and goes on; "read": only the top token is read there."""
        cache.append([1])
        last, begin = len(cache) - 1, time.perf_counter()
        if policy != "full":
            cache.advance(last, depth)
            if policy == "agent":
                agent.should_exit(ExitView(cache, last, depth, cache.pending(last, decoder.config.layers)))
            else:
                cache.top_tokens((last,), depth)
        cache.advance(last, decoder.config.layers)
        cache.top_tokens((last,), decoder.config.layers)
        seconds = time.perf_counter() - begin
        cache.truncate(length)
        return seconds

    times = {}
    for policy in ("full", "read", "agent"):
        token(policy)  # records the graphs
        times[policy] = statistics.median(token(policy) for _ in range(tokens))
    size = bytes_read(decoder, length)
    found: dict[str, Any] = {
        "milliseconds a token": 1e3 * times["full"],
        "bytes read": size,
        "agent's share": max(0.0, times["agent"] - times["read"]) / times["agent"],
    }
    if bandwidth:
        found |= {"of the memory bound": size / bandwidth / times["full"], "bandwidth": bandwidth}
    return found


def _compiled(where: Where, name: str) -> dict[str, Any]:
    """transformers with a static cache, its forward pass compiled, in bfloat16 with random weights; as it is on the stand-in."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = where.shape(SHAPES[name])
    device, kind = ("cuda", torch.bfloat16) if where.is_card else ("cpu", torch.float32)
    made = AutoConfig.for_model(config.family, **_sizes(config))
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(made, dtype=kind)  # type: ignore[no-untyped-call]
    model.eval()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    if where.is_card:
        model.forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
    count = _TOKENS if where.is_card else 2
    ids = torch.ones(1, _LENGTHS[0] if where.is_card else 4, dtype=torch.int64, device=device)

    def seconds(tokens: int) -> float:
        begin = time.perf_counter()
        with torch.inference_mode():
            model.generate(ids, max_new_tokens=tokens, do_sample=False, cache_implementation="static")
        if where.is_card:
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    for tokens in (count + 1, count + 1, 1):
        seconds(tokens)
    each = (seconds(count + 1) - seconds(1)) / count
    return {"positions": ids.shape[1], "milliseconds a token": 1e3 * each}


def _sizes(config: ModelConfig) -> dict[str, Any]:
    """As transformers names them."""
    sizes: dict[str, Any] = {
        "vocab_size": config.vocabulary, "hidden_size": config.width, "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads, "max_position_embeddings": 2304 if config.layers > 2 else 64,
    }  # fmt: skip
    if config.family == "opt":
        return sizes | {"ffn_dim": config.mlp_width, "word_embed_proj_dim": config.width}
    return sizes | {
        "intermediate_size": config.mlp_width, "num_key_value_heads": config.kv_heads, "head_dim": config.head_width,
        "tie_word_embeddings": config.tied_head,
    }  # fmt: skip


def _llama_cpp() -> dict[str, Any] | None:
    """llama-bench of a CUDA build, where there is one, with the GGUF file that the variable names."""
    program, file = shutil.which("llama-bench"), os.environ.get(GGUF_VARIABLE)
    if program is None or not file:
        print(f"llama.cpp is left out: it needs llama-bench on the path, and a GGUF file in {GGUF_VARIABLE}")
        return None
    command = [program, "-m", file, "-p", "0", "-n", str(_TOKENS), "-ngl", "999", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    (row,) = json.loads(done.stdout)
    return {"model": row["model_type"], "positions": 0, "milliseconds a token": 1e3 / row["avg_ts"]}
