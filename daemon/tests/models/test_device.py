"""Where bfloat16 pays: what the processor has decides, not what oneDNN can imitate."""

from __future__ import annotations

import pytest
import torch

from green_code.models.device import bfloat16_pays

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "onednn", "avx512", "bf16", "amx", "pays"),
    [
        ("Ice Lake: AVX-512, which oneDNN makes do with", True, True, False, False, False),
        ("Zen 4, Cooper Lake", True, True, True, False, True),
        ("Sapphire Rapids", True, True, True, True, True),
        ("Arm with bfloat16", True, False, False, False, True),
        ("AVX2 alone", False, False, False, False, False),
    ],
)
def test_instructions_decide(
    name: str, onednn: bool, avx512: bool, bf16: bool, amx: bool, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    for check, able in (("avx512", avx512), ("avx512_bf16", bf16), ("amx_tile", amx)):
        monkeypatch.setattr(torch.cpu, f"_is_{check}_supported", lambda able=able: able)
    assert bfloat16_pays(CPU) == pays, name


def test_another_device_computes_in_float32() -> None:
    assert not bfloat16_pays(torch.device("meta"))
