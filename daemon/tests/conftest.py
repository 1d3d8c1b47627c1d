"""What every test leaves as it was, and what it may spend."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# For torch, numpy and their children: small models are slower on more threads, above all beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Triton interprets its kernels on the processor. It decides that where they are imported.
os.environ["TRITON_INTERPRET"] = "1"

# References compute in float32, so processors with AVX-512 do not compute in bfloat16 here, also where that pays. The product's own
# environment has no torch.
if importlib.util.find_spec("torch") is not None:
    import torch  # now, as it reads the number of threads when it is imported

    torch.cpu._is_avx512_bf16_supported = torch.cpu._is_amx_tile_supported = lambda: False

# `make test-all` takes the second. Time tells nothing on a busy machine.
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=100, deadline=None)
settings.load_profile("quick")


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Commands that a test runs in its own process make what they write private."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a short path, as a socket's has 103 bytes at most; each process that runs tests has folders of its own."""
    return tmp_path_factory.mktemp("t")
