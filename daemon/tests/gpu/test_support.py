"""Which card serves, with what, and how much of it: a stand-in for torch's view of the cards."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from green_code.gpu import reserve, support
from green_code.kernels.weight_format import weight_formats

GB = 10**9


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Two of different kinds: an old one with much memory, and a new one with less."""
    made: list[dict[str, Any]] = [{"capability": (7, 0), "free": 30 * GB}, {"capability": (8, 9), "free": 10 * GB}]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(made))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda card: made[card]["capability"])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda card: (made[card]["free"], 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda card: 2 * GB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda card: GB)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda card: SimpleNamespace(total_memory=made[card]["free"])
    )
    monkeypatch.setattr(support, "gpu_uuid", lambda card: None)  # which NVML refuses
    monkeypatch.setattr(
        "green_code.models.device.compute_dtype", lambda name: (torch.float32, torch.bfloat16)[name == "cuda:1"]
    )
    return made


def test_of_two_cards_the_one_serves_that_the_kernels_serve(
    cards: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert support.best_card("cuda") == 1
    cards[0]["capability"] = (9, 0)
    assert support.best_card("cuda") == 0, "then the one with more memory"
    library = SimpleNamespace(
        nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=lambda uuid: uuid, nvmlDeviceGetMemoryInfo=lambda uuid: SimpleNamespace(free=uuid)
    )  # fmt: skip
    monkeypatch.setattr(support, "gpu_uuid", lambda device: (GB, 9 * GB)[device.index])
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert support.best_card("cuda") == 1, "somebody else uses the first"
    assert support.best_card("mps") == 0


@pytest.mark.parametrize("missing", ["package", "library"])
def test_without_nvml_the_card_with_more_memory_of_its_own_serves(
    cards: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def no_library() -> None:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    library = None if missing == "package" else SimpleNamespace(nvmlInit=no_library)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    cards[0].update(capability=(9, 0), free=5 * GB)
    assert support.best_card("cuda") == 1
    cards[0]["free"] = 20 * GB
    assert support.best_card("cuda") == 0


def test_where_the_kernels_do_not_serve_torch_does(
    cards: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [one.name for one in weight_formats("cuda", 1)] == ["gpu-8", "gpu-4", "torch.bfloat16"]
    (torchs,) = weight_formats("cuda", 0)
    assert (
        torchs.name == "torch.float32"
        and torchs.device == "cuda"
        and "capability 7.0" in str(support.why_torch("cuda", 0))
    )
    assert [one.device for one in weight_formats("mps")] == ["mps"]
    monkeypatch.setattr(torch.version, "hip", "6.2")
    assert "ROCm" in str(support.why_torch("cuda", 1)) and [one.device for one in weight_formats("cuda", 1)] == [
        "cuda:1"
    ]
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert support.why_torch("cuda", 1) == "Triton is not installed"


def test_room_is_left_for_others(cards: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "_gigabytes", reserve._gigabytes)
    assert support.free_bytes(1) == 10 * GB, "with what torch holds and does not use, less the setting's default"
    reserve.leave_free(2.5)
    free = int(8.5 * GB)
    assert support.free_bytes(1) == free
    support.check_room(1, free)
    with pytest.raises(MemoryError, match=r"needs .* GB of the card may be used"):
        support.check_room(1, free + 1)
