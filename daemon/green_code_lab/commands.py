"""The laboratory's commands of `green-code`, as entry points of its distribution; nothing here is slow to import."""

from __future__ import annotations

from typing import Final

from green_code.cli import Command

ADAPT: Final = Command(
    "green_code_lab.cli.adapt", "train a bundle for a base model: corpus, LITE, lenses, KV projections, SVD head"
)
TRAIN: Final = Command("green_code_lab.cli.train", "train and calibrate the agent that chooses the exits")
EVALUATE: Final = Command("green_code_lab.cli.evaluate", "measure quality and energy on a data set")
BENCH: Final = Command("green_code_lab.cli.bench", "measure speed beside transformers and llama.cpp")
EXPERIMENTS: Final = Command("green_code_lab.cli.experiments", "run an experiment and write its page")
