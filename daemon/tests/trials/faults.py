"""The controls of faults.c: what fails in every process that is started with `variables`, from now on and until it is changed."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

from green_code.kernels.build import TARGETS, this_target


class Faults:
    """
    Args:
        folder: for the library and the file of controls.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "faults"
        self.set()
        library = folder / "faults.so"
        source = Path(__file__).with_name("faults.c")
        triple = TARGETS[this_target()][0]
        command = [sys.executable, "-m", "ziglang", "cc", "-target", triple, "-O2", "-fPIC", "-shared", "-fno-builtin"]
        subprocess.run([*command, str(source), "-o", str(library)], check=True)
        self.variables = {"LD_PRELOAD": str(library), "GREEN_CODE_FAULTS": str(self._path)}

    def set(self, fsync_ms: int = 0, clock_seconds: int = 0, fail_from_bytes: int = 0, fail_one_in: int = 0) -> None:
        """Without arguments nothing fails."""
        data = struct.pack("=4q", fsync_ms, clock_seconds, fail_from_bytes, fail_one_in)
        with self._path.open("r+b" if self._path.exists() else "w+b") as file:
            file.write(data)
