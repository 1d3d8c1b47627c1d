"""Pickled weights as safetensors: OPT was published with nothing else, and without tokenizer.json.

Loading a pickle can run code, so a process of its own does it, with `weights_only`, which admits tensors and nothing else. It writes
`model.safetensors` (one for each pickled file, and the index of several) and `tokenizer.json` beside what it read.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from green_code.models import store
from green_code.models.hashes import sha256_of
from green_code.models.places import Report, check_disk
from green_code.models.rows import Row
from green_code.models.safetensors_files import INDEX
from green_code.problems import Problem


def convert_pickled(folder: Path, row: Row | None, report: Report) -> list[str]:
    """Convert a folder in the hub's layout; returns the names of the files that were written.

    Args:
        row: of the catalog, whose pickled files are then removed; None: a folder of the user's, in which nothing is removed.
    Raises:
        Problem: there is nothing to convert, torch is missing, or a file holds more than tensors.
    """
    pickled = sorted(folder.glob("pytorch_model*.bin"))
    if not pickled:
        if any(folder.glob("*.safetensors")):
            return []
        get = f"; run: green-code models get {row.name}" if row is not None else ""
        raise Problem("model_missing", f"{folder} has no pytorch_model*.bin to convert{get}.")
    if not all(map(importlib.util.find_spec, ("torch", "transformers"))):
        raise Problem(
            "model_missing",
            "converting pickled weights needs the extras 'gpu' and 'hub': pip install 'green-code[gpu,hub]'.",
        )
    size = sum(path.stat().st_size for path in pickled)
    check_disk(folder, size, f"{folder.name} as safetensors")
    report(f"converting the pickled weights of {row.name if row else folder} to safetensors", 0, size)
    child = subprocess.run(
        [sys.executable, "-m", "green_code.models.pickled", str(folder)], capture_output=True, text=True
    )
    if child.returncode:
        for part in folder.glob("*.safetensors.part"):
            part.unlink()
        lines = child.stderr.strip().splitlines()
        raise Problem(
            "model_damaged",
            f"the pickled weights in {folder} cannot be converted ({lines[-1] if lines else 'the process ended'}); "
            "they are not used.",
        )
    written: list[str] = json.loads(child.stdout.splitlines()[-1])
    if row is not None:
        for path in (*pickled, *folder.glob("pytorch_model*.bin.index.json")):
            path.unlink()
        names = (path.name for path in sorted(folder.iterdir()) if path.is_file() and path.name != store.RECEIPT)
        place = (store.read_receipt(row) or {}).get("place", "")
        store.write_receipt(
            folder, {"name": row.name, "place": place, "files": {n: sha256_of(folder / n) for n in names}}
        )
    return written


def _main(folder: Path) -> list[str]:
    """In a process of its own."""
    import torch
    from safetensors.torch import save_file

    written: list[str] = []
    places: dict[str, str] = {}  # of each tensor, its file
    pickled = sorted(folder.glob("pytorch_model*.bin"))
    for path in pickled:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        own: dict[int, str] = {}  # the first name of each storage: safetensors has no shared ones
        kept = {}
        for name, tensor in tensors.items():
            if own.setdefault(tensor.data_ptr(), name) == name:
                kept[name] = tensor.contiguous()
        target = folder / f"{path.stem.replace('pytorch_model', 'model')}.safetensors"
        part = target.with_name(f"{target.name}.part")
        save_file(kept, part, {"format": "pt"})
        part.replace(target)
        written.append(target.name)
        places |= dict.fromkeys(kept, target.name)
    if len(pickled) > 1:
        (folder / INDEX).write_text(json.dumps({"weight_map": places}), "utf-8")
        written.append(INDEX)
    if not (folder / "tokenizer.json").is_file():
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(folder, trust_remote_code=False).backend_tokenizer.save(
            str(folder / "tokenizer.json")
        )
        written.append("tokenizer.json")
    return written


if __name__ == "__main__":
    print(json.dumps(_main(Path(sys.argv[1]))))
