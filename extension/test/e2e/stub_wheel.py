"""Packs stub_server.py as a wheel of green-code into FOLDER, with a list that pins its dependency, and that one into
INDEX: FOLDER VERSION PACKAGES INDEX.

Prints the path of the first wheel. Set Up then needs a package index but no network. pygls comes from the folder PACKAGES.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

DEPENDENCY = "green-code-stub-needs"


def main(folder: str, version: str, packages: str, index: str) -> None:
    needed = pack(index, DEPENDENCY, "1.0", {"green_code_stub_needs.py": ""}, "")
    digest = hashlib.sha256(needed.read_bytes()).hexdigest()
    (Path(folder) / "requirements.txt").write_text(f"{DEPENDENCY}==1.0 --hash=sha256:{digest}\n")
    files = {
        "green_code/__init__.py": f"__version__ = {version!r}\n",
        "green_code/__main__.py": (Path(__file__).parent / "stub_server.py").read_text(),
        "green_code_stub.pth": f"{packages}\n",
    }
    extras = f"Provides-Extra: model\nProvides-Extra: gpu\nRequires-Dist: {DEPENDENCY}\n"
    print(pack(folder, "green-code", version, files, extras))


def pack(folder: str, name: str, version: str, files: dict[str, str], metadata: str) -> Path:
    stem = f"{name.replace('-', '_')}-{version}"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        **files,
        f"{stem}.dist-info/METADATA": head + metadata,
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: stub\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{stem}.dist-info/RECORD"
    files[record] = "".join(f"{name},,\n" for name in [*files, record])
    wheel = Path(folder).resolve() / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


if __name__ == "__main__":
    main(*sys.argv[1:])
