"""Pin what Set Up installs: every package of the product with the SHA-256 of each of its wheels, for all platforms and Pythons.

    python daemon/release/locks.py FOLDER

Writes `requirements.txt`, the product, and one list for each extra, which repeats the versions of the earlier lists, so that nothing
that works is replaced. Needs the package index.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2] / "pyproject.toml"
LISTS: Final = {"": "requirements.txt", **{extra: f"requirements-{extra}.txt" for extra in ("hub", "gpu")}}
"""By extra; the first one is the product without any. Models have hashes of their own (models/rows.py)."""
OLDEST_PYTHON: Final = "3.10"


class LockError(Exception):
    """The packages cannot be pinned; the sentence says why."""


def write_locks(folder: Path, project: Path = PROJECT) -> list[Path]:
    """Write all lists into `folder`; either all are new or none is.

    Raises:
        LockError: the index cannot be reached, or no versions fit together as wheels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for extra, name in LISTS.items():
        part = folder / f"{name}.part"
        # All Pythons and platforms in one list; without wheels a package would be built by tools that no list pins.
        arguments = ["--universal", "--python-version", OLDEST_PYTHON, "--generate-hashes", "--no-build"]
        arguments += [
            "--no-header",
            "--no-annotate",
            "--output-file",
            str(part),
            *(("--extra", extra) if extra else ()),
        ]
        for earlier in made:
            arguments += ["--constraints", str(earlier)]
        ended = subprocess.run(
            [_uv(), "pip", "compile", str(project), *arguments], capture_output=True, text=True, env=_environment()
        )
        if ended.returncode:
            for each in (*made, part):
                each.unlink(missing_ok=True)
            raise LockError(
                f"The packages of {name} cannot be pinned, which needs the package index (UV_DEFAULT_INDEX or "
                f"PIP_INDEX_URL names another one). uv says: {ended.stderr.strip()}"
            )
        made.append(part)
    return [part.replace(part.with_suffix("")) for part in made]


def _uv() -> str:
    return str(Path(sysconfig.get_path("scripts")) / "uv")


def _environment() -> dict[str, str]:
    """uv has variables of its own; where they are not set, pip's index and certificates are meant."""
    chosen = dict(os.environ)
    for ours, pips in (("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("SSL_CERT_FILE", "PIP_CERT")):
        if pips in chosen:
            chosen.setdefault(ours, chosen[pips])
    return chosen


if __name__ == "__main__":
    try:
        for path in write_locks(Path(sys.argv[1])):
            print(path)
    except LockError as error:
        sys.exit(str(error))
