"""Files of a corpus made up for tests."""

from __future__ import annotations

import random

from green_code_lab.corpus.files import SourceFile


def words(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(count)]


def code(characters: int, seed: int) -> str:
    """Python of about this length, unlike that of any other seed."""
    drawn = words(characters // 12, seed)
    return "".join(f"{name} = {value}({seed})\n" for name, value in zip(drawn[::2], drawn[1::2], strict=False))


def file(project: str, text: str, path: str = "a.py", licence: str = "MIT", language: str = "python") -> SourceFile:
    return SourceFile(project, "1", licence, path, language, text)
