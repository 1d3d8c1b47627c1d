"""Triton interprets its kernels on the processor. It decides that where they are imported."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"
