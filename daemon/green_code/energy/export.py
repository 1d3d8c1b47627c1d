"""The ledger's rows as a file: CSV for spreadsheets, JSON for programs.

Must not know: where the ledger is.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TextIO

from green_code.energy.rows import Row
from green_code.files import replacing
from green_code.problems import Problem


def export(rows: Iterable[Row], path: Path) -> int:
    """Write the rows, with columns named as in `Row`, in the format of the suffix .csv or .json; returns how many.

    Raises:
        Problem: the suffix is another, or the file cannot be written. After this, or what `rows` raises, an older file is still there.
    """
    try:
        write = _WRITERS[path.suffix.lower()]
    except KeyError:
        suffixes = " or ".join(_WRITERS)
        raise Problem("bad_request", f"{path.name}: choose a name that ends in {suffixes}.") from None
    try:
        with replacing(path) as file:
            return write(rows, file)
    except OSError as error:
        raise Problem(
            "cache_unwritable", f"{path} cannot be written ({error.strerror or error}). Choose another file."
        ) from error


def _csv(rows: Iterable[Row], file: TextIO) -> int:
    writer = csv.DictWriter(file, [field.name for field in fields(Row)])
    writer.writeheader()
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 - the last count is the result
        writer.writerow(asdict(row))
    return count


def _json(rows: Iterable[Row], file: TextIO) -> int:
    count = 0
    for count, row in enumerate(rows, 1):
        file.write((",\n" if count > 1 else "[\n") + json.dumps(asdict(row)))
    file.write("\n]\n" if count else "[]\n")
    return count


_WRITERS = {".csv": _csv, ".json": _json}
