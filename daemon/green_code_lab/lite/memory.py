"""What a LITE step needs of a device's memory, predicted without allocating it, and the layout that is chosen by it.

Weights, teacher, gradients and optimiser follow from the list of tensors. Activations and head are counted: a step is run on the
meta device, and what its operations allocate is added up while it lives. Attention is counted as torch computes it without a
fused kernel, which needs less.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from green_code.memory import available_memory
from green_code.models.config import ModelConfig
from green_code.problems import Problem
from green_code_lab.lite.objective import skeleton
from green_code_lab.lite.recipe import Recipe

USABLE = 0.92
"""Share of free memory that a plan may take: allocators lose some, communication and libraries take some."""
_MOMENTS_8_BIT = 2 * (1 + 4 / 256)  # bytes a weight: two codes, and a scale for 256 of them
_LEAST_8_BIT = 4096  # smaller tensors have moments in float32
_SEQUENCES = (2, 4)


@dataclass(frozen=True)
class Layout:
    """How a step is laid out on its devices. None of it changes what is learned.

    Attributes:
        shard: each device holds its share of weights, gradients and optimiser (FSDP, arXiv 2304.11277); else all of them.
        recompute: activations within layers are computed again for the gradient. micro_batch: sequences a device holds at a time.
    """

    shard: bool
    recompute: bool
    micro_batch: int


@dataclass(frozen=True)
class Memory:
    """Bytes of one device at the peak of a step.

    Attributes:
        gathered: what is held beside a device's own: sharded weights while they are used, copies in the type that computes.
        head: logits of a block of rows, and what is made of them.
    """

    weights: int
    teacher: int
    gradients: int
    optimiser: int
    gathered: int
    activations: int
    head: int

    @property
    def total(self) -> int:
        return sum(vars(self).values())


def predict(config: ModelConfig, recipe: Recipe, layout: Layout, devices: int, half: bool) -> Memory:
    """Of a device among so many. `half`: it computes in bfloat16."""
    compute = torch.bfloat16 if half else torch.float32
    objective, shards = skeleton(config, recipe, compute, False, False), devices if layout.shard else 1

    def own(weight: Tensor) -> int:
        """Numbers of a weight on one device; rows are dealt out whole."""
        return -(-weight.shape[0] // shards) * weight[0].numel()

    named = list(objective.named_parameters())
    trained = [(name, weight) for name, weight in named if weight.requires_grad]
    layer = [weight for name, weight in named if name.startswith("decoder.layers.0.")]
    outer = [weight for name, weight in named if ".layers." not in name]
    gathered = 0
    if layout.shard:  # a layer and the one fetched ahead, its gradient in both types, and what all layers share
        layer_size, trained_size = (
            sum(w.numel() for w in layer if w.requires_grad or every) for every in (True, False)
        )
        shared = sum(w.numel() for w in outer)
        gathered = (2 * layer_size + shared) * compute.itemsize + trained_size * (compute.itemsize + 4)
    elif half and recipe.rank is None:  # autocast's copies: of a layer, or of all whose activations are kept
        copies = [w for _, w in trained] if not layout.recompute else [w for w in layer if w.requires_grad]
        gathered = sum(w.numel() for w in copies) * compute.itemsize
    shaping = Recipe(recipe.exit_groups, (), 0, 0.0, sequence=recipe.sequence, teacher=recipe.teacher, rank=recipe.rank)
    activations, head = _step(config, shaping, layout.recompute, layout.micro_batch, compute)
    return Memory(
        weights=sum(own(w) * w.element_size() for name, w in named if not name.startswith("teacher.")),
        teacher=sum(own(w) * w.element_size() for name, w in named if name.startswith("teacher.")),
        gradients=sum(own(w) * 4 for _, w in trained),
        optimiser=sum(moment_bytes(own(w), recipe) for _, w in trained),
        gathered=gathered, activations=activations, head=head,
    )  # fmt: skip


def moment_bytes(numbers: int, recipe: Recipe) -> int:
    """Of a weight's two moments."""
    small = recipe.optimiser == "adamw" or numbers < _LEAST_8_BIT
    return 8 * numbers if small else round(_MOMENTS_8_BIT * numbers)


def free_memory(device: torch.device, processes: int) -> int:
    """Bytes that one of so many processes of this machine can still have."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory() // processes


def layouts(recipe: Recipe, devices: int) -> Iterator[Layout]:
    """All, the fastest first: whole weights before sharded ones, then many sequences at a time, then activations kept.

    Raises Problem where the batch does not divide among the devices. All micro-batches have one size, so that means are means.
    """
    each, rest = divmod(recipe.batch, devices)
    if rest or each % min(each, recipe.micro_batch):
        raise Problem(
            "bad_request",
            f"{recipe.batch} sequences a step cannot be divided among {devices} devices in parts of {recipe.micro_batch}; use a number of devices that divides {recipe.batch}.",
        )
    sizes = [size for size in range(min(each, recipe.micro_batch), 0, -1) if each % size == 0]
    for shard in (False, True) if devices > 1 else (False,):
        for size in sizes:
            for recompute in (False, True):
                yield Layout(shard, recompute, size)


def choose(config: ModelConfig, recipe: Recipe, devices: int, free: int, half: bool) -> tuple[Layout, Memory] | None:
    """The first layout that fits into `free` bytes of each device, and what it needs; None where none does."""
    for layout in layouts(recipe, devices):
        if (needed := predict(config, recipe, layout, devices, half)).total <= USABLE * free:
            return layout, needed
    return None


def least(config: ModelConfig, recipe: Recipe, devices: int, half: bool) -> Memory:
    """What the smallest layout needs."""
    return predict(config, recipe, list(layouts(recipe, devices))[-1], devices, half)


class _Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
    """Counts bytes of what operations allocate, while it lives. `peak`: the most at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.peak = self._now = 0
        self._live = set[int]()

    def known(self, tensor: Tensor) -> None:
        """What was there before."""
        self._live.add(tensor.untyped_storage()._cdata)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._live:
            return
        self._live.add(key)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._live.discard(key)
        self._now -= size


def _step(
    config: ModelConfig, recipe: Recipe, recompute: bool, micro_batch: int, compute: torch.dtype
) -> tuple[int, int]:
    """(activations, head): bytes that one forward and backward pass adds, gradients not counted, in a type. `recipe`: what shapes it."""
    few = min(config.layers, len(recipe.exit_groups) + 5)
    sizes = tuple(sorted({few, min(config.layers, few + 2)}))
    peaks, head = _peaks(
        _of_layers(config, few), tuple(_of_layers(config, n) for n in sizes), recipe, recompute, compute
    )
    by_layers = [
        low + (high - low) * (micro_batch - _SEQUENCES[0]) / (_SEQUENCES[1] - _SEQUENCES[0]) for low, high in peaks
    ]
    more = (by_layers[-1] - by_layers[0]) / max(1, sizes[-1] - sizes[0])
    return round(by_layers[0] + more * (config.layers - few)), head


def _of_layers(config: ModelConfig, layers: int) -> ModelConfig:
    return replace(config, layers=layers, windows=config.windows[:layers], ropes=config.ropes[:layers])


@functools.lru_cache(maxsize=64)
def _peaks(
    smallest: ModelConfig, configs: tuple[ModelConfig, ...], recipe: Recipe, recompute: bool, compute: torch.dtype
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Of models of few layers, with a vocabulary of one token: for each the peaks with `_SEQUENCES`. And what the head adds.

    Layers are alike, and so are sequences: what more of them add follows.
    """
    few, more = _SEQUENCES

    def of(config: ModelConfig) -> tuple[int, int]:
        narrow = replace(config, vocabulary=1)
        return _peak(narrow, recipe, recompute, few, compute), _peak(narrow, recipe, recompute, more, compute)

    without = tuple(of(config) for config in configs)
    return without, _peak(smallest, recipe, recompute, few, compute) - without[0][0]


def _peak(config: ModelConfig, recipe: Recipe, recompute: bool, sequences: int, compute: torch.dtype) -> int:
    depths = (*range(1, len(recipe.exit_groups) + 1), config.layers)
    objective = skeleton(config, recipe, compute, recompute, False).to(compute)
    counted = _Allocations()
    with torch.device("meta"):
        tokens, weights = torch.zeros(sequences, recipe.sequence + 1, dtype=torch.int64), torch.ones(len(depths))
    for parameter in objective.parameters():
        counted.known(parameter)
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
            counted.known(parameter.grad)
    with counted:
        objective(tokens, depths, weights)[0].backward()
    return counted.peak
