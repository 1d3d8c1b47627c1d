"""A program: reads damaged files one after another, and prints a line of JSON for each: python -m tests.trials.cases KIND SEED FROM TO.

A file may be read or refused with a Problem; anything else is a failure, and so is a signal that ends this process.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from green_code.models.gguf_source import GgufSource
from green_code.models.hugging_face import FolderSource
from green_code.problems import Problem
from green_code.settings import parse_settings
from tests.trials import hostile_values

Case = Callable[[random.Random], None]
MOST_BYTES = 8 << 30


def gguf(folder: Path) -> Case:
    """A whole model of qwen2, its header and its tensors damaged."""
    from tests.models.gguf_files import write_model
    from tests.models.test_gguf_source import byte_level, model_of

    whole = folder / "whole.gguf"
    write_model(model_of("qwen2"), whole, byte_level())
    data, path = whole.read_bytes(), folder / "model.gguf"

    def case(numbers: random.Random) -> None:
        path.write_bytes(hostile_values.damaged(data, numbers))
        source = GgufSource(path)
        _ = source.config
        source.vocabulary(None)
        _finish(source.tensors(None))

    return case


def safetensors(folder: Path) -> Case:
    """A folder of the hub: one of its files damaged, or a JSON file of the wrong shape."""
    from tests.models.references import byte_level_tokenizer, save_folder

    whole = save_folder(folder / "whole", "qwen2", byte_level_tokenizer("qwen"))
    files = sorted(path for path in whole.iterdir() if path.is_file())

    def case(numbers: random.Random) -> None:
        made = folder / "model"
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(whole, made)
        path = made / numbers.choice(files).name
        if path.suffix == ".json" and numbers.random() < 0.6:
            path.write_bytes(hostile_values.dumps(json.loads(path.read_bytes()), numbers))
        else:
            path.write_bytes(hostile_values.damaged(path.read_bytes(), numbers))
        source = FolderSource(made)
        _ = source.config
        source.vocabulary(None)
        _finish(source.tensors(None))

    return case


def settings(_: Path) -> Case:
    """Values that an editor sends as settings; they never raise."""
    rows = (
        "threshold",
        "model",
        "languages",
        "excludedFiles",
        "maxLines",
        "[python]",
        "[",
        "suggestions",
        "device",
        "more",
    )

    def case(numbers: random.Random) -> None:
        values: Any = {
            name: hostile_values.value(numbers) for name in numbers.sample(rows, numbers.randrange(len(rows)))
        }
        found, messages = parse_settings(values)
        for message in messages:
            assert len(message) < 600, f"a message of {len(message)} characters"
        assert 0.5 <= found.threshold <= 1
        _ = found.of_language("python")

    return case


KINDS: dict[str, Callable[[Path], Case]] = {"gguf": gguf, "safetensors": safetensors, "settings": settings}


def _finish(tensors: Iterator[Any]) -> None:
    for _, tensor in tensors:
        np.asarray(tensor).sum()


def main(kind: str, seed: str, start: int, stop: int) -> None:
    resource.setrlimit(
        resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES)
    )  # a size that is believed ends here, not the machine
    with tempfile.TemporaryDirectory() as folder:
        case = KINDS[kind](Path(folder))
        print(json.dumps({"ready": True}), flush=True)
        for number in range(start, stop):
            try:
                case(random.Random(f"{kind} {seed} {number}"))
                outcome = "read"
            except Problem as problem:
                outcome = "refused" if len(str(problem)) < 1500 else f"a message of {len(str(problem))} characters"
            except BaseException as error:
                outcome = f"{type(error).__name__}: {str(error)[:200]}"
            print(json.dumps({"number": number, "outcome": outcome}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
