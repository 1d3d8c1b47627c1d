"""bfloat16 pays where the processor has instructions for it, not where oneDNN emulates it."""

from __future__ import annotations

import pytest
import torch

from green_code.models.device import bfloat16_pays

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
