"""Compiles every launch of the published models' plans for cards that are not here: Triton needs none for that.

    python -m green_code_lab.benchmark.gpu_check.compiled 80 90

It runs in a process of its own, in which Triton does not interpret.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from green_code.gpu.plan import DeviceClassifier, HeadScratch, Plan, Scratch
from green_code.gpu.weights import DeviceMatrix, Weights
from green_code.kernels.packing import Extras
from green_code.models.config import ModelConfig
from green_code_lab.benchmark.gpu_check.stand_in import Launch, Recorder
from green_code_lab.benchmark.gpu_shapes import SHAPES

CAPABILITIES = (80, 90)
_TYPES = {
    torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int64: "*i64", torch.int32: "*i32", torch.int8: "*i8", torch.uint8: "*u8",
}  # fmt: skip
_WARP = 32
_RANK, _HIDDEN, _SPLITS = 128, 64, 8


def launches(config: ModelConfig, bits: int) -> Iterator[Launch]:
    """Of a layer, of an exit with all that it can have, and of the last head."""
    depth = config.layers // 2
    weights = Weights.planned(config, Extras((depth,), (), _RANK), bits)
    plan, recorder = Plan(weights, torch.bfloat16, torch.device("meta")), Recorder()
    inner = torch.empty(_HIDDEN, config.width, device="meta")
    matrix = DeviceMatrix(_HIDDEN, config.width, 32, inner, inner, inner)
    classifier = DeviceClassifier(matrix, inner, inner, inner, 0.0, 1.0, 6.0)
    plan.layers(recorder, 1, 2, Scratch(config, 1, plan.like(), _SPLITS), _SPLITS)
    plan.head(recorder, depth, 1, HeadScratch(config, _RANK, _HIDDEN, plan.like()), classifier)
    yield from (launch for launch in recorder.launches if launch.kernel is not None)


def compile_launch(launch: Launch, capability: int) -> Any:
    """Machine code for a launch."""
    signature, attributes = dict[str, str](), dict[tuple[int, ...], list[list[object]]]()
    for i, (name, argument) in enumerate(zip(launch.kernel.arg_names, launch.arguments, strict=False)):
        if isinstance(argument, torch.Tensor):
            signature[name] = _TYPES[argument.dtype]
        else:
            signature[name] = "fp32" if isinstance(argument, float) else "i32"
        if isinstance(argument, torch.Tensor) or (isinstance(argument, int) and argument % 16 == 0):
            attributes[(i,)] = [["tt.divisibility", 16]]
    constants = {name: value for name, value in launch.constants.items() if name in launch.kernel.arg_names}
    options = {name: value for name, value in launch.constants.items() if name not in constants}
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, _WARP), options=options)


def compile_all(capability: int) -> int:
    """How many kernels there are. Raises what Triton raises where one does not compile."""
    seen = set[object]()
    for config in SHAPES.values():
        for bits in (8, 4):
            for launch in launches(config, bits):
                kinds = tuple(getattr(each, "dtype", type(each)) for each in launch.arguments)
                key = launch.name, kinds, tuple(map(str, launch.constants.items()))
                if key not in seen:
                    seen.add(key)
                    compile_launch(launch, capability)
    return len(seen)


def compile_apart() -> str:
    """The same for all capabilities, in a process whose Triton compiles; what it prints."""
    command = [sys.executable, "-m", __name__, *map(str, CAPABILITIES)]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "0"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"a kernel does not compile: {done.stderr[-2000:]}")
    return done.stdout.strip()


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        print(f"{compile_all(int(asked))} kernels compile for compute capability {int(asked) / 10:.1f}", flush=True)
