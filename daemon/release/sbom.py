"""The software bill of materials of a VSIX, in CycloneDX 1.6 (ecma-international.org, ECMA-424).

    python daemon/release/sbom.py --locks FOLDER --dist FOLDER --bundled FOLDER        writes bundled/sbom.cdx.json
    python daemon/release/sbom.py --check FILE.vsix                                    fails if it is incomplete

It lists what is in the VSIX (the wheel, the bundles, npm packages within the scripts, as esbuild reports them), and what Set Up
installs from it: the packages of the lists that locks.py pins, and the default model.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve()
ROOT: Final = HERE.parents[2]
NAME: Final = "sbom.cdx.json"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$")

Component = dict[str, Any]


def packages_of(text: str) -> Iterator[tuple[str, str, str, list[str]]]:
    """Name, version, marker and hashes of each package of a list of pip's."""
    current: tuple[str, str, str, list[str]] | None = None
    for line in text.splitlines():
        if found := re.search(r"--hash=sha256:([0-9a-f]{64})", line):
            assert current is not None, f"a hash without a package: {line}"
            current[3].append(found[1])
        elif found := _PINNED.match(line):
            if current is not None:
                yield current
            current = (found[1], found[2], found[3] or "", [])
    if current is not None:
        yield current


def python_components(lists: Mapping[str, str]) -> list[Component]:
    """Of lists by name; a package of several lists belongs to the first one."""
    made: dict[str, Component] = {}
    for name, text in lists.items():
        for package, version, marker, hashes in packages_of(text):
            purl = f"pkg:pypi/{package}@{version}"
            if purl in made:
                continue
            files = {
                "type": "distribution",
                "url": f"https://pypi.org/project/{package}/{version}/",
                "hashes": _hashes(hashes),
            }
            properties = {"list": name, **({"marker": marker} if marker else {})}
            made[purl] = _component("library", package, version, purl, properties, scope=_scope(name)) | {
                "externalReferences": [files]
            }
    return list(made.values())


def _scope(name: str) -> str:
    return "required" if name == "requirements.txt" else "optional"


def npm_components(inputs: Iterable[str], lock: Mapping[str, Any]) -> list[Component]:
    """Of the files that esbuild put into the scripts, with package-lock.json's versions and SHA-512."""
    folders = sorted(
        {found[0] for path in inputs if (found := re.match(r"(?:.*node_modules/)(?:@[^/]+/)?[^/]+", path))}
    )
    made = []
    for folder in folders:
        entry = lock["packages"][folder[folder.index("node_modules/") :]]
        name = folder.rpartition("node_modules/")[2]
        purl = f"pkg:npm/{name.replace('@', '%40')}@{entry['version']}"
        digest = base64.b64decode(entry["integrity"].removeprefix("sha512-")).hex()
        component = _component("library", name, entry["version"], purl, {"within": "dist"}, scope="required")
        made.append(component | {"hashes": [{"alg": "SHA-512", "content": digest}]})
    return made


def file_components(files: Mapping[str, bytes], version: str) -> list[Component]:
    """Of the wheel and the bundles, by their paths in the VSIX."""
    made = []
    for path, data in files.items():
        kind = "machine-learning-model" if path.startswith("agent_models/") else "library"
        component = _component(
            kind, path, version, f"pkg:generic/green-code/{path}@{version}", {"within": path}, scope="required"
        )
        made.append(component | {"hashes": _hashes([hashlib.sha256(data).hexdigest()])})
    return made


def model_components() -> list[Component]:
    """The models of the catalog that are one file with a hash in the code."""
    from green_code.models.rows import DEFAULT, ROWS

    made = []
    for row in ROWS.values():
        if row.file is not None:
            scope = "required" if row.name == DEFAULT else "optional"
            component = _component(
                "machine-learning-model", row.name, row.file.sha256[:12], "", {"license": row.license}, scope=scope
            )
            made.append(component | {"hashes": _hashes([row.file.sha256])})
    return made


def _component(kind: str, name: str, version: str, purl: str, properties: Mapping[str, str], scope: str) -> Component:
    listed = [{"name": f"green-code:{key}", "value": value} for key, value in properties.items()]
    reference = purl or f"{kind}:{name}"
    return {
        "type": kind,
        "bom-ref": reference,
        "name": name,
        "version": version,
        "scope": scope,
        "properties": listed,
    } | ({"purl": purl} if purl else {})


def _hashes(digests: Iterable[str]) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest} for digest in digests]


def bill(components: list[Component], version: str) -> dict[str, Any]:
    """The whole bill; the same contents have the same serial number."""
    ordered = sorted(components, key=lambda component: str(component["bom-ref"]))
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(ordered, sort_keys=True))
    product = {"type": "application", "bom-ref": f"green-code@{version}", "name": "green-code", "version": version}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": product},
        "components": ordered,
    }


def make(locks: Path, dist: Path, bundled: Path) -> Path:
    """Write the bill beside the wheel."""
    version = json.loads((ROOT / "package.json").read_text("utf-8"))["version"]
    lists = {
        path.name: path.read_text("utf-8")
        for path in sorted(locks.glob("requirements*.txt"), key=lambda path: len(path.name))
    }
    inputs = [
        name for meta in sorted(dist.glob("*.meta.json")) for name in json.loads(meta.read_text("utf-8"))["inputs"]
    ]
    lock = json.loads((ROOT / "package-lock.json").read_text("utf-8"))
    bundles = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in _files(ROOT / "agent_models")}
    wheels = {f"bundled/{path.name}": path.read_bytes() for path in bundled.glob("*.whl")}
    components = [
        *python_components(lists), *npm_components(inputs, lock), *file_components({**wheels, **bundles}, version), *model_components(),
    ]  # fmt: skip
    made = bundled / NAME
    made.write_text(json.dumps(bill(components, version), indent=1, ensure_ascii=False) + "\n", "utf-8")
    return made


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def missing_from(vsix: zipfile.ZipFile) -> list[str]:
    """What a VSIX has or installs and its bill does not list, in words; a bill that lists more is no fault."""
    inside = {name.removeprefix("extension/"): name for name in vsix.namelist() if name.startswith("extension/")}
    if f"bundled/{NAME}" not in inside:
        return [f"bundled/{NAME}"]
    listed = json.loads(vsix.read(inside[f"bundled/{NAME}"]))["components"]
    digests = {digest["content"] for component in listed for digest in component.get("hashes", ())}
    purls = {component.get("purl") for component in listed}
    shipped = [path for path in inside if path.endswith(".whl") or path.startswith("agent_models/")]
    lacking = [path for path in shipped if hashlib.sha256(vsix.read(inside[path])).hexdigest() not in digests]
    lists = [path for path in inside if re.fullmatch(r"bundled/requirements[a-z-]*\.txt", path)]
    if "bundled/requirements.txt" not in lists:
        lacking.append("bundled/requirements.txt")
    for path in lists:
        for name, version, _, hashes in packages_of(vsix.read(inside[path]).decode()):
            if not hashes:
                lacking.append(f"the hashes of {name} in {path}")
            if f"pkg:pypi/{name}@{version}" not in purls:
                lacking.append(f"{name} {version} of {path}")
    return lacking


def main() -> int:
    parser = argparse.ArgumentParser(description="Write or check the bill of materials of a VSIX.")
    for name in ("locks", "dist", "bundled", "check"):
        parser.add_argument(f"--{name}", type=Path)
    args = parser.parse_args()
    if args.check is None:
        make(args.locks, args.dist, args.bundled)
        return 0
    with zipfile.ZipFile(args.check) as vsix:
        lacking = missing_from(vsix)
    print("\n".join(f"{args.check}: the bill of materials lacks {what}" for what in lacking), file=sys.stderr)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[1]))
    sys.exit(main())
