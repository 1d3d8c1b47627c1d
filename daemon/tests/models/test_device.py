"""Where bfloat16 pays, when a device is lost, and what a decoder of torch calls the device that it is on."""

from __future__ import annotations

import pytest
import torch

from green_code.models.device import bfloat16_pays, is_lost
from green_code.models.tiny import TinySource
from green_code.models.torch_decoder import Decoder

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "onednn", "avx512", "bf16", "amx", "pays"),
    [
        ("Ice Lake: AVX-512, by which oneDNN emulates bfloat16", True, True, False, False, False),
        ("Zen 4, Cooper Lake", True, True, True, False, True),
        ("Sapphire Rapids", True, True, True, True, True),
        ("Arm with bfloat16", True, False, False, False, True),
        ("AVX2 alone", False, False, False, False, False),
    ],
)
def test_bfloat16_pays_where_there_are_instructions_for_it(
    name: str, onednn: bool, avx512: bool, bf16: bool, amx: bool, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    for feature, supported in (("avx512", avx512), ("avx512_bf16", bf16), ("amx_tile", amx)):
        monkeypatch.setattr(torch.cpu, f"_is_{feature}_supported", lambda supported=supported: supported)
    assert bfloat16_pays(CPU) == pays, name


def test_bfloat16_does_not_pay_on_other_devices() -> None:
    assert not bfloat16_pays(torch.device("meta"))


@pytest.mark.parametrize(
    ("error", "at", "lost"),
    [
        (None, "", False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "synchronize", True),
        (RuntimeError("CUDA error: the device was removed"), "zeros", True),
        (torch.OutOfMemoryError("CUDA out of memory"), "zeros", False),
    ],
)
def test_a_device_is_lost_where_it_computes_nothing_more_and_not_where_its_memory_is_full(
    error: Exception | None, at: str, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def synchronize() -> None:
        if error is not None and at == "synchronize":
            raise error

    def zeros(*size: int, device: str) -> torch.Tensor:
        assert device == "cuda:1"
        if error is not None and at == "zeros":
            raise error
        return torch.ones(*size)

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(torch, "zeros", zeros)
    assert is_lost("cuda:1") is lost
    assert not is_lost("cpu") and not is_lost("mps")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert not is_lost("cuda:1"), "it was never used"


@pytest.mark.parametrize(
    ("device", "hip", "label"),
    [("cpu", None, ""), ("mps", None, ", mps"), ("cuda", None, ", cuda"), ("cuda", "6.2", ", ROCm")],
)
def test_a_description_names_the_device(
    device: str, hip: str | None, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decoder, "device", torch.device(device))
    monkeypatch.setattr(torch.version, "hip", hip)
    with torch.device("meta"):
        assert Decoder(TinySource().config).description == f"torch, float32{label}"
