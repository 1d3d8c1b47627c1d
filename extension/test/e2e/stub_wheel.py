"""Packs stub_server.py as a wheel of green-code: FOLDER VERSION PACKAGES; prints its path.

It has no dependencies, so that it installs without a network; pygls comes from the folder PACKAGES.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path


def main(folder: str, version: str, packages: str) -> None:
    info = f"green_code-{version}.dist-info"
    files = {
        "green_code/__init__.py": f"__version__ = {version!r}\n",
        "green_code/__main__.py": (Path(__file__).parent / "stub_server.py").read_text(),
        "green_code_stub.pth": f"{packages}\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: green-code\n"
        f"Version: {version}\nProvides-Extra: model\nProvides-Extra: gpu\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: stub\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{info}/RECORD"
    files[record] = "".join(f"{name},,\n" for name in [*files, record])
    wheel = Path(folder).resolve() / f"green_code-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    print(wheel)


if __name__ == "__main__":
    main(*sys.argv[1:])
