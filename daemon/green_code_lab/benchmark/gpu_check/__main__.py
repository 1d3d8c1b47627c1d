"""python -m green_code_lab.benchmark.gpu_check PART: see the package."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from green_code.problems import Problem
from green_code_lab.benchmark.gpu_check.card import prepare

PARTS = ("correctness", "speed", "energy", "training")
PAGE = Path(__file__).parents[4] / "docs/experiments/gpu.md"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path("work/gpu"), help="folder of what was found")
    parser.add_argument("--page", type=Path, default=PAGE, help="written by the last part")
    asked = parser.parse_args(arguments)
    why = prepare()
    from green_code_lab.benchmark.gpu_check.page import write_page
    from green_code_lab.benchmark.gpu_check.where import Where

    where = Where.here()
    try:
        found = importlib.import_module(f"{__package__}.{asked.part}").run(where)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    if why is not None:
        print(f"{asked.part}: passed in small on the stand-in. No figures are written, for there is no card: {why}.")
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / f"{asked.part}.json").write_text(json.dumps({"card": where.name, "rows": found}, indent=1))
    if asked.part == PARTS[-1]:
        write_page(asked.out, asked.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
