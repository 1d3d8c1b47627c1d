"""The commands of docs/paper-models.md, and what must be there behind each.

They are for a folder that has `work/` and `agent_models/`. A dry run gives other options behind some of them, for little code and few tokens.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from green_code.folders import bundles_dir, cache_dir
from green_code.models.bundle import CALIBRATION, DELTA, LENSES, SVD_HEAD, Bundle, load_bundle
from green_code.models.rows import ROWS
from green_code.problems import Problem
from green_code_lab.agent.record import PARTS
from green_code_lab.agent.rollouts import open_rollouts
from green_code_lab.dry_run.checkpoints import SOURCES
from green_code_lab.lite.recipe import paper_exits

MODELS: Final = ("llama-3.2-3b", "opt-2.7b")
FINE_TUNED: Final = "-paper"
"""Ends the name of the bundle whose layers are fine-tuned."""
_GENTLE = "--rate 1e-7"  # random weights complete lines otherwise at once, and `export` refuses what does worse by such a chance
_PUBLIC = "--sources installed,sdists,jdk --jdk work/openjdk-21-source/src.zip work/openjfx-source/src.zip"


@dataclass(frozen=True)
class Step:
    """A command.

    Attributes:
        words: behind `green-code`. page: options on the page alone. cheap: options of a dry run alone; of two equal options the later
            one counts. found: looks at what the command has made, and describes it; raises Problem or OSError where it is not
            there. At full shape, `training` takes the memory of a card, and `many` takes hours on a processor: it completes some
            hundred lines, whose number no option changes.
    """

    name: str
    words: str
    found: Callable[[], str]
    page: str = ""
    cheap: str = ""
    training: bool = False
    many: bool = False

    @property
    def on_page(self) -> str:
        return " ".join(filter(None, ("green-code", self.words, self.page)))

    @property
    def dry(self) -> list[str]:
        return shlex.split(f"{self.words} {self.cheap}")


def exits_of(model: str) -> tuple[int, ...]:
    """The paper's."""
    first, second = paper_exits(ROWS[model].shape.layers)
    return (*first, *second)


def steps(model: str) -> list[Step]:
    """Of one of `MODELS`, in their order."""
    return [*_shared(model), *(_frozen(model) if has_lenses(model) else ()), *_fine_tuned(model)]


def has_lenses(model: str) -> bool:
    """Without RMS norms it has neither lenses nor an SVD head, and so no exits of frozen layers."""
    return ROWS[model].shape.config().row.norm == "rms"


def _shared(model: str) -> Iterator[Step]:
    work = _work(model)
    yield Step("plan", f"adapt plan --model {model} --recipe paper --memory 80", lambda: "fits a card of 80 GB")
    yield Step("get", f"models get {model}", lambda: _converted(model))
    sources = f"--from {' '.join(shlex.quote(str(path)) for path in SOURCES)}"
    yield Step(
        "corpus", f"adapt corpus --model {model} --work {work}", lambda: _corpus(work), _PUBLIC, f"{sources} --corpus-tokens 40000"
    )  # fmt: skip


def _frozen(model: str) -> Iterator[Step]:
    common = f"--model {model} --work {_work(model)}"
    exits = ",".join(map(str, exits_of(model)))
    yield Step("exits", f"adapt exits {common} --exits {exits}", lambda: _has(model, LENSES), cheap="--positions 960")
    yield _svd_head(model, model)
    yield Step("watch", f"adapt watch {common}", lambda: _watched(model), many=True)
    yield from _agent(model, model)


def _fine_tuned(model: str) -> Iterator[Step]:
    bundle = f"{model}{FINE_TUNED}"
    common = f"--model {model} --out agent_models/{bundle} --recipe paper --work {_work(model)}"
    tokens = "--tokens 160000000"
    yield Step(
        "lite", f"adapt lite {common}", lambda: _trained(model), tokens, f"--tokens 32768 {_GENTLE}", training=True
    )  # fmt: skip
    yield Step("export", f"adapt export {common}", lambda: _has(bundle, DELTA), cheap=_GENTLE, training=True)
    if has_lenses(model):
        yield _svd_head(model, bundle)
    yield from _agent(model, bundle)


def _svd_head(model: str, bundle: str) -> Step:
    recipe = f" --out agent_models/{bundle} --recipe paper" if bundle != model else ""
    words = f"adapt svd-head --model {model}{recipe} --work {_work(model)}"
    return Step("svd-head", words, lambda: _has(bundle, SVD_HEAD), cheap="--positions 960", training=bundle != model)


def _agent(model: str, bundle: str) -> Iterator[Step]:
    work = _work(model)
    common = f"--model {bundle} --work {work}"
    yield Step("rollouts", f"train rollouts {common}", lambda: _rollouts(work, bundle), cheap="--positions 128")
    yield Step("agent", f"train agent {common} --reward paper --ppo paper", lambda: _agent_of(model, bundle))
    yield Step("calibrate", f"train calibrate {common}", lambda: _calibrated(bundle), cheap="--files 1 --lines 1")
    out = f"{work}/{bundle}"
    yield Step("paper", f"experiments paper {common} --out {out}", lambda: _pareto(out), cheap="--limit 1")


def _work(model: str) -> str:
    return f"work/{model}"


# --- what is there ---------------------------------------------------------------------------------------
def _must(there: bool, otherwise: str) -> None:
    if not there:
        raise Problem("internal_error", otherwise)


def _converted(model: str) -> str:
    sizes = [path.stat().st_size for path in cache_dir().glob(f"{model}-{'[0-9a-f]' * 16}/*")]
    _must(bool(sizes), "there are no converted weights")
    return f"{sum(sizes) / 1e9:.2f} GB converted"


def _corpus(work: str) -> str:
    shards = _json(f"{work}/corpus/corpus.json")["shards"]
    return ", ".join(f"{shard['tokens']:,} tokens {name}" for name, shard in shards.items())


def _bundle(name: str) -> Bundle:
    return load_bundle(bundles_dir() / name)


def _has(name: str, part: str) -> str:
    bundle = _bundle(name)
    _must(bundle.part(part) is not None, f"the bundle has no {part}")
    return f"{part}, {(bundle.path / part).stat().st_size / 1e6:.1f} MB"


def _watched(name: str) -> str:
    kinds = _bundle(name).manifest.get("watch", {})
    _must(bool(kinds), "the manifest has no watch")
    return ", ".join(f"{kind['rows']} lines {about}" for about, kind in kinds.items())


def _trained(model: str) -> str:
    state = _json(f"{_work(model)}/lite/state.json")
    exits = sorted(exit for group in state["recipe"]["exit_groups"] for exit in group)
    _must(tuple(exits) == exits_of(model), f"the recipe's exits are {exits}")
    return f"step {state['step']}, exits {_listed(exits)}"


def _rollouts(work: str, bundle: str) -> str:
    key = _bundle(bundle).weights_key
    positions = [len(open_rollouts(Path(work) / "rollouts" / part, key).final_tokens) for part in PARTS]
    return f"{' + '.join(map(str, positions))} positions"


def _agent_of(model: str, bundle: str) -> str:
    manifest = _bundle(bundle).manifest
    agent = manifest.get("agent", {})
    _must(tuple(manifest["exits"]) == exits_of(model), f"the agent decides at {manifest['exits']}")
    _must(agent.get("reward", {}).get("kind") == "paper", "there is no agent of the paper's rewards")
    return f"{agent['method']} at exits {_listed(manifest['exits'])}"


def _calibrated(bundle: str) -> str:
    calibration = _bundle(bundle).calibration
    _must(bool(calibration), f"the bundle has no {CALIBRATION}")
    return f"{calibration['reference']['rows']} lines, {len(calibration['curve'])} thresholds"


def _pareto(out: str) -> str:
    arms = _json(f"{out}/paper.json")["arms"]
    depths = [f"{arm['setting']} {arm['layers']:.1f}" for arm in arms if not arm["setting"].startswith("as served")]
    _must(any(arm["setting"].startswith("T=") for arm in arms), "no threshold was measured")
    return f"layers a token: {', '.join(depths)}"


def _json(path: str) -> Any:
    return json.loads(Path(path).read_text("utf-8"))


def _listed(exits: Sequence[int]) -> str:
    return ",".join(map(str, exits))
