"""Hostile models. Folders: whole checkpoints whose config.json has one option that no model can have, or that its tensors do not have, or
whose tokenizer has a token that no model has. GGUF: one file at random damaged.

Each is opened, converted and asked for a completion, so that what is accepted also runs. Options that change no size are harmless.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from green_code.engine import loading
from green_code.engine.loading import Runtime, load_runtime
from green_code.models.conversion import convert
from green_code.models.hugging_face_config import _READ
from tests.models.references import byte_level_tokenizer, family_model, save_folder
from tests.trials.hostile_values import damaged

FAMILIES = ("llama", "gemma3_text", "gpt2")
_VALUES: tuple[Any, ...] = (
    -5,
    0,
    1,
    3,
    65,
    2 * 10**12,
    3 * 10**8,
    1e-320,
    1e300,
    "1e999",
    None,
    True,
    "2",
    [],
    [-1],
    {"x": 1},
)
TOKEN = "a token's id"
Case = tuple[str, str, Any]


def cases() -> Iterator[Case]:
    """Family, option and value: the options that the family's own configuration has, and `TOKEN`."""
    yield from ((FAMILIES[0], TOKEN, value) for value in (2**31, 2**32 - 1, -1))
    for family in FAMILIES:
        for option in sorted(set(_READ) & family_model(family).config.to_dict().keys()):
            for value in _VALUES:
                yield family, option, value


def opener(folder: Path) -> Callable[[Case], Runtime]:
    """Writes the checkpoint of a case into `folder`, and loads it. Raises Problem."""
    whole = {name: save_folder(folder / "whole" / name, name, byte_level_tokenizer("qwen")) for name in FAMILIES}
    loading.convert_apart = convert  # type: ignore[attr-defined]

    def load(case: Case) -> Runtime:
        family, option, value = case
        target = folder / "model"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(whole[family], target)
        path = target / ("tokenizer.json" if option == TOKEN else "config.json")
        stored = json.loads(path.read_text("utf-8"))
        if option == TOKEN:
            stored["model"]["vocab"]["a"] = value
        else:
            stored[option] = value
        path.write_text(json.dumps(stored).replace('"1e999"', "1e999"), "utf-8")
        return load_runtime(str(target))

    return load


def gguf_opener(folder: Path) -> Callable[[int], Runtime]:
    """Writes the damaged file of a seed into `folder`, and loads it. Raises Problem."""
    from tests.models.gguf_files import write_model
    from tests.models.test_gguf_source import byte_level, model_of

    path = folder / "model.gguf"
    write_model(model_of("qwen2"), path, byte_level())
    whole = path.read_bytes()
    loading.convert_apart = convert  # type: ignore[attr-defined]

    def load(seed: int) -> Runtime:
        path.write_bytes(damaged(whole, random.Random(f"gguf {seed}")))
        return load_runtime(str(path))

    return load
