"""A module made on the meta device, put on its devices: whole on each, or each weight's rows dealt out (FSDP2).

torch's own `fully_shard` does it, on processors and GPUs alike; accelerate offers it for GPUs only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from green_code_lab.lite.objective import Objective


def shard(objective: Objective, device: torch.device, half: bool) -> None:
    """Deal out the rows of all weights. Layers are gathered one by one while they run, in bfloat16 if `half`; gradients are summed
    in float32."""
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for model in (objective.decoder, objective.teacher):
        for block in model.layers if model is not None else ():
            fully_shard(block, mesh=mesh, mp_policy=policy)  # type: ignore[arg-type, unused-ignore]
    fully_shard(objective, mesh=mesh, mp_policy=policy)


@torch.no_grad()
def fill(module: nn.Module, weight_of: Callable[[str], Tensor] | None) -> None:
    """Give all weights their values, one at a time.

    Args:
        weight_of: a weight by its name in the module, of any type. Where weights are sharded, the first process's counts, and
            all processes must call this together; others give None.
    """
    for name, parameter in module.named_parameters():
        if not isinstance(parameter, DTensor):
            assert weight_of is not None
            parameter.copy_(weight_of(name))
            continue
        own = parameter.to_local()
        whole = torch.empty(parameter.shape, dtype=parameter.dtype, device=own.device)
        if weight_of is not None:
            whole.copy_(weight_of(name))
        dist.broadcast(whole, 0)
        dealt = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
        own.copy_(dealt.to_local())


def local(weight: Tensor) -> Tensor:
    """What this process has of a weight."""
    return weight.to_local() if isinstance(weight, DTensor) else weight
