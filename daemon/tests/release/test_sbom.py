"""The bill of materials lists what a VSIX has and installs."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from typing import Any

from green_code.models.rows import DEFAULT, ROWS
from release import sbom

ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)
BASE = f"""numpy==2.2.6 ; python_full_version < '3.11' \\
    --hash=sha256:{ONE} \\
    --hash=sha256:{TWO}
tree-sitter-c==0.24.2 \\
    --hash=sha256:{THREE}
"""
HUB = f"tree-sitter-c==0.24.2 \\\n    --hash=sha256:{THREE}\nhuggingface-hub==2.4.0 \\\n    --hash=sha256:{ONE}\n"
LOCK = {
    "packages": {
        "node_modules/@scope/inner": {
            "version": "1.2.3",
            "integrity": "sha512-" + base64.b64encode(b"x" * 64).decode(),
        },
        "node_modules/chart.js": {"version": "4.5.0", "integrity": "sha512-" + base64.b64encode(b"y" * 64).decode()},
        "node_modules/unused": {"version": "9.9.9", "integrity": "sha512-" + base64.b64encode(b"z" * 64).decode()},
    }
}


def components() -> list[dict[str, Any]]:
    inputs = ["extension/src/a.ts", "node_modules/@scope/inner/lib/x.js", "node_modules/chart.js/dist/chart.js"]
    files = {"bundled/green_code-0.1.0-py3-none-any.whl": b"wheel", "agent_models/gemma/gate.json": b"{}"}
    return [
        *sbom.python_components({"requirements.txt": BASE, "requirements-hub.txt": HUB}),
        *sbom.npm_components(inputs, LOCK),
        *sbom.file_components(files, "0.1.0"),
        *sbom.model_components(),
    ]


def vsix(bill: dict[str, Any] | None, **files: bytes) -> zipfile.ZipFile:
    inside = {
        "bundled/requirements.txt": BASE.encode(),
        "bundled/requirements-hub.txt": HUB.encode(),
        "bundled/green_code-0.1.0-py3-none-any.whl": b"wheel",
        "agent_models/gemma/gate.json": b"{}",
        "dist/extension.js": b"",
        **files,
    }
    if bill is not None:
        inside[f"bundled/{sbom.NAME}"] = json.dumps(bill).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in inside.items():
            archive.writestr(f"extension/{name}", data)
    return zipfile.ZipFile(packed)


def test_it_lists_packages_scripts_files_and_models() -> None:
    bill = sbom.bill(components(), "0.1.0")
    by_purl = {component.get("purl"): component for component in bill["components"]}
    numpy = by_purl["pkg:pypi/numpy@2.2.6"]
    assert {digest["content"] for digest in numpy["externalReferences"][0]["hashes"]} == {ONE, TWO}
    assert {"name": "green-code:marker", "value": "python_full_version < '3.11'"} in numpy["properties"]
    assert by_purl["pkg:pypi/tree-sitter-c@0.24.2"]["scope"] == "required"
    assert by_purl["pkg:pypi/huggingface-hub@2.4.0"]["scope"] == "optional"
    assert by_purl["pkg:npm/%40scope/inner@1.2.3"]["hashes"] == [{"alg": "SHA-512", "content": b"x".hex() * 64}]
    assert "pkg:npm/chart.js@4.5.0" in by_purl and not any("unused" in str(purl) for purl in by_purl)
    default = ROWS[DEFAULT].file
    assert default is not None
    (model,) = (component for component in bill["components"] if component["name"] == DEFAULT)
    assert (model["scope"], model["hashes"][0]["content"]) == ("required", default.sha256)
    references = [component["bom-ref"] for component in bill["components"]]
    assert len(set(references)) == len(references)


def test_the_same_contents_give_the_same_bill() -> None:
    assert sbom.bill(components(), "0.1.0") == sbom.bill(components()[::-1], "0.1.0")
    assert sbom.bill(components()[1:], "0.1.0")["serialNumber"] != sbom.bill(components(), "0.1.0")["serialNumber"]


def test_what_a_vsix_has_and_its_bill_lacks_is_named() -> None:
    bill = sbom.bill(components(), "0.1.0")
    assert sbom.missing_from(vsix(bill)) == []
    assert sbom.missing_from(vsix(None)) == [f"bundled/{sbom.NAME}"]
    assert sbom.missing_from(vsix(bill, **{"agent_models/gemma/more.json": b"1"})) == ["agent_models/gemma/more.json"]
    changed = {"bundled/green_code-0.1.0-py3-none-any.whl": b"another"}
    assert sbom.missing_from(vsix(bill, **changed)) == [*changed]
    newer = {"bundled/requirements-hub.txt": b"evil==1.0\n"}
    assert sbom.missing_from(vsix(bill, **newer)) == [
        "the hashes of evil in bundled/requirements-hub.txt",
        "evil 1.0 of bundled/requirements-hub.txt",
    ]


def test_hashes_are_those_of_the_files() -> None:
    (wheel,) = (component for component in components() if component["name"].endswith(".whl"))
    assert wheel["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"wheel").hexdigest()}]
