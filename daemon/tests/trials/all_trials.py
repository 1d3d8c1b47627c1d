"""The table of trials."""

from __future__ import annotations

from tests.trials.files import damaged, hostile
from tests.trials.kills import kills
from tests.trials.messages import editors, frames
from tests.trials.other_user import other_user
from tests.trials.recovery import BUSY, recovery
from tests.trials.runner import Trial
from tests.trials.set_up import set_up
from tests.trials.soak import soak
from tests.trials.stored import cache, ledger
from tests.trials.system import allocations, clock, disk, slow_disk

TRIALS: dict[str, Trial] = {
    "frames": frames,
    "lsp": editors,
    "gguf": damaged("gguf", 1500),
    "safetensors": damaged("safetensors", 1000),
    "bundles": hostile("bundles", "bundles with wrong contents and right hashes, or damaged", seeds=500),
    "models": hostile("models", "model folders with wrong configurations or tokens", "--models"),
    "settings": damaged("settings", 5000),
    "kill": kills,
    "recovery": recovery(100),
    "recovery-busy": recovery(100, BUSY),
    "soak": soak,
    "cache": cache,
    "ledger": ledger,
    "disk": disk,
    "slow-disk": slow_disk,
    "clock": clock,
    "allocations": allocations,
    "other-user": other_user,
    "set-up": set_up,
}
