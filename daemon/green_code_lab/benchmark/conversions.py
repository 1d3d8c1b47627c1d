"""A conversion in a process of its own, whose peak of memory is that of nothing else, and what there is to say of the model then.

The process reads its task and writes its answer as JSON. Where the model is, and where it is written, is in the environment.
"""

from __future__ import annotations

import json
import operator
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from green_code.decoding.kv_cache import KVCache
from green_code.folders import cache_dir
from green_code.kernels.binding import open_kernel
from green_code.kernels.decoder import KernelDecoder
from green_code.kernels.weight_bits import bits_for
from green_code.kernels.weight_format import KernelFormat
from green_code.models.bundle import bundle_of
from green_code.models.catalog import find_model
from green_code.models.conversion import convert
from green_code.models.vocabulary import Vocabulary
from green_code.models.weights import open_model
from green_code.problems import Problem

_CHARACTERS = 16  # that a token has at most, on average
_STATUS = Path("/proc/self/status")


def convert_alone(
    model: str, bits: int, texts: Sequence[str], tokens: int, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Convert a model with its bundle into the kernel's format.

    Args:
        bits: of the weights. texts: prompts of `tokens` tokens are made of them. environment: variables, for folders.
    Returns:
        `seconds`, `peak_gb` (None where the system does not say), `disk_gb`, `weights_gb` (what a token reads), `bits`
        (that the product chooses), `fim`, `half` (share of positions whose token is already that of full depth after half the
        layers), `prompts` (ids).
    Raises:
        Problem: that of the conversion, or the process failed.
    """
    command = [sys.executable, "-m", "green_code_lab.benchmark.conversions"]
    task = json.dumps({"model": model, "bits": bits, "texts": texts, "tokens": tokens})
    done = subprocess.run(command, input=task, env={**os.environ, **environment}, capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"its process ended with status {done.returncode}"])[-1]
        raise Problem("internal_error", f"the conversion of {Path(model).name} failed: {reason}")
    found: dict[str, Any] = json.loads(done.stdout)
    if "message" in found:
        raise Problem(found["reason"], found["message"])
    return found


def _convert(model: str, bits: int, texts: Sequence[str], tokens: int) -> dict[str, Any]:
    kernel = open_kernel()
    if kernel is None:
        raise Problem(
            "bad_request", "the kernel is not built for this machine; run: python -m green_code.kernels.build"
        )
    begin = time.perf_counter()
    opened = open_model(find_model(model), bundle_of(model), [KernelFormat(kernel, bits=bits)], converter=convert)
    figures = {"seconds": time.perf_counter() - begin, "peak_gb": peak_gb()}
    disk = sum(path.stat().st_size for path in cache_dir().glob(f"*-{opened.key}/*"))
    decoder, vocabulary = opened.decoder, opened.vocabulary
    assert isinstance(decoder, KernelDecoder)
    prompts = list(_prompts(vocabulary, texts, tokens))
    return {
        **figures,
        "disk_gb": disk / 1e9,
        "weights_gb": decoder.weight_bytes / 1e9,
        "bits": bits_for(decoder.config),
        "fim": vocabulary.fim is not None,
        "half": _agreement(decoder, prompts[0]) if prompts else None,
        "prompts": prompts,
    }


def _prompts(vocabulary: Vocabulary, texts: Sequence[str], tokens: int) -> Iterator[list[int]]:
    """A prompt of exactly `tokens` ids for each text, which goes on with the next ones; none where all are too short."""
    start = [] if vocabulary.bos is None else [vocabulary.bos]
    for i in range(len(texts)):
        ids = [*start, *vocabulary.encode("".join([*texts[i:], *texts[:i]])[: _CHARACTERS * tokens])]
        if len(ids) >= tokens:
            yield ids[:tokens]


def _agreement(decoder: KernelDecoder, ids: Sequence[int]) -> float:
    """Of the tokens behind all positions, the share that half the layers choose as all of them do."""
    tops = []
    for depth in (decoder.config.layers // 2, decoder.config.layers):
        cache = KVCache(decoder)
        cache.append(ids)
        cache.advance(len(ids) - 1, depth)
        tops.append([top.token for top in cache.top_tokens(range(len(ids)), depth)])
    half, full = tops
    return float(sum(map(operator.eq, half, full)) / len(ids))


def peak_gb() -> float | None:
    """The most gigabytes of memory that this process has had; not, as in `getrusage`, what the process had that started it."""
    if not _STATUS.is_file():
        return None
    found = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(), re.M)
    return 1.024e-6 * float(found[1]) if found else None


def main() -> int:
    answer: dict[str, Any]
    try:
        answer = _convert(**json.load(sys.stdin))
    except Problem as problem:
        answer = {"reason": problem.reason, "message": str(problem)}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
