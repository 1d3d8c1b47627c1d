"""Every experiment runs on a tiny model, end to end, and what must hold of its figures does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from green_code.engine.loading import Runtime, load_runtime
from green_code.engine.session import Session
from green_code.models.bundle import load_bundle
from green_code.models.catalog import TINY
from green_code.problems import Problem
from green_code_lab.agent import ppo
from green_code_lab.agent.rollouts import write_rollouts
from green_code_lab.corpus.files import SourceFile
from green_code_lab.corpus.shards import write_shards
from green_code_lab.experiments import baselines, energy, functions, quality, rewards, sessions, stops, weight_search
from green_code_lab.experiments.experiment import provenance
from green_code_lab.experiments.small_model import SmallModel
from green_code_lab.replay.service import serve_span
from green_code_lab.replay.typist import Typed
from tests.lab.agent.replayed import toy
from tests.lab.experiments.conftest import Run

PROJECTS = ("project", "networkx")
"""The second one's held-out files are kept away from every choice."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus in two languages."""
    texts = {
        "python": "def area{n}(side, height):\n    total = side * {n} + height\n    return total\n\n\n",
        "java": "class Area{n} {{\n    int total(int side) {{\n        return side * {n};\n    }}\n}}\n",
    }
    parts = {
        (language, part): [
            SourceFile(PROJECTS[i % 2], "1", "MIT", f"{part}{i}", language, "".join(text.format(n=100 * i + j) for j in range(12)))
            for i in range(files)
        ]
        for language, text in texts.items()
        for part, files in (("train", 60), ("heldout", 8))
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("work")
    write_shards(folder / "corpus", parts, load_runtime(TINY).vocabulary, 100_000, 1, 1, {})
    return folder


@pytest.fixture
def on_rows(run: Run, rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run an experiment over the rows, in this process."""
    monkeypatch.setattr(quality, "jobs_for", lambda _: 1)
    return lambda name: run(name, tmp_path, "--data", rows_file, "--work", tmp_path)


def arm(found: dict[str, Any], **keys: object) -> dict[str, Any]:
    (one,) = (a for a in found["arms"] if all(a.get(key) == value for key, value in keys.items()))
    return dict(one)


def test_layers(on_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = on_rows("layers")
    layers = {model: sorted({a["layer"] for a in found["arms"] if a["model"] == model}) for model in ("untouched", "adapted")}  # fmt: skip
    assert layers == {"untouched": [1, 2, 3, 4, 5, 6], "adapted": [2, 4, 6]}
    assert all(a["same"] == 1 for a in found["arms"] if a["layer"] == 6)
    assert len(found["examples"]) == 2 * 6 and found["examples"][0]["row"].startswith("Java, line `total =▌`")  # fmt: skip
    base, adapted = (arm(found, model=model, language="java", layer=4) for model in layers)
    assert base["from_untouched"] is None
    assert adapted["from_untouched"][0] == pytest.approx(adapted["edit_similarity"][0] - base["edit_similarity"][0])  # fmt: skip
    # Of a finished run nothing is computed again, and files name no folders.
    monkeypatch.setattr(Session, "complete", None)
    assert on_rows("layers")["arms"] == found["arms"]
    for end in ("json", "md", "svg"):
        assert str(tmp_path) not in (tmp_path / f"layers.{end}").read_text("utf-8")
    assert "--data rows.jsonl --limit 200 --seed 0" in found["command"]


def test_quality(on_rows: Any) -> None:
    found = on_rows("quality")
    families = list(dict.fromkeys(a["family"] for a in found["arms"]))
    assert families == ["untouched", "full depth", "exact", "agent", "confidence", "fixed exit"]
    full, exact = (arm(found, policy=name, language="python") for name in ("full depth", "exact"))
    assert (full["same"], full["saved"], full["from_full"], exact["same"]) == (1, 0, None, 1)
    fixed = arm(found, policy="fixed exit 2", language="python")
    assert fixed["mean_depth"] == 2 and 0 < fixed["saved"] < 1
    assert fixed["saved"] == pytest.approx(1 - fixed["joules"] / full["joules"], rel=1e-4)


def test_drafts(on_rows: Any) -> None:
    found = on_rows("drafts")
    full, *others = found["arms"]
    assert full["whole"][0] == pytest.approx(1) and full["tokens_a_pass"] == 1
    for other in others:
        assert (other["tokens"], other["same"]) == (full["tokens"], 1)
        assert 0 < other["passes"] <= full["passes"]
    assert found["kinds"] == []  # no corpus


def test_priors_of_drafts_come_from_held_out_projects(run: Run, work: Path, tmp_path: Path) -> None:
    found = run("drafts", tmp_path, "--work", work, "--limit", 1)
    by_source: dict[str, int] = {}
    for kind in found["kinds"]:
        by_source[kind["source"]] = by_source.get(kind["source"], 0) + kind["positions"]
        assert 0 <= kind["accepted"] <= 1
    positions = 2 * 64 * 64  # languages × windows × positions
    assert by_source["exit"] == 2 * positions and 0 < by_source["text"] <= positions
    assert "lines of files of held-out projects" in found["settings"]["data"]


def test_prefill_exits(on_rows: Any) -> None:
    found = on_rows("prefill-exits")
    assert list(dict.fromkeys(a["prefill_exit"] for a in found["arms"])) == ["full depth", "none", "2", "1"]
    never = {a["prefill_exit"]: a for a in found["arms"] if a["threshold"] == 0.99 and a["language"] == "java"}  # fmt: skip
    assert {a["mean_depth"] for a in never.values()} == {6}
    assert never["none"]["same"] == 1 and never["1"]["joules"] != never["none"]["joules"]


def test_propagation(on_rows: Any) -> None:
    found = on_rows("propagation")
    own = [a for a in found["arms"] if a["language"] == "java"]
    assert [a["policy"].split()[0] for a in own] == ["full", "agent", "agent", *["confidence"] * 3, "fixed", "fixed"]  # fmt: skip
    full, *others = own
    assert (full["same"], full["layers"], full.get("joules_change")) == (1, 6, None)
    for other in others:
        change, _, _ = other["joules_change"]
        if other["policy"].startswith("fixed"):
            assert (other["equal_texts"], other["deeper"]) == (1, 0)
            assert other["layers"] == other["layers_propagated"] == other["depth"]
            assert change == pytest.approx(other["propagating"], rel=1e-3) and change > 0
        else:
            assert other["layers_propagated"] <= other["layers"]


def test_sessions(run: Run, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LINES", 2)
    monkeypatch.setattr(sessions, "jobs_for", lambda _: 1)

    def lucky(*arguments: Any) -> Typed:
        """One suggestion is accepted, which a model with random weights hardly achieves."""
        typed = serve_span(*arguments)
        return replace(typed, accepted=typed.accepted + 1, shown=typed.shown + 1)

    monkeypatch.setattr(sessions, "serve_span", lucky)
    found = run("sessions", tmp_path, "--limit", 1, "--work", work)
    for part in ("chosen on", "kept away"):
        own = [a for a in found["arms"] if a["part"] == part]
        assert [a["arm"] for a in own][:3] == [sessions.BEFORE, sessions.FULL, sessions.EXACT]
        assert len({a["arm"] for a in own}) == len(own) > 5
        assert all(a["requests_per_100"] > 0 and a["joules_per_100_keys"] > 0 for a in own)
        before, full, exact = own[:3]
        shown = [each["shown_per_100"] for each in (before, full, exact)]
        assert shown == pytest.approx([shown[0]] * 3, rel=0.03), "they show the same"
        assert shown == sorted(shown), "but for what the next key cancels, which is less the cheaper it is"
        assert before["joules_per_100_keys"] > full["joules_per_100_keys"]
    monkeypatch.setattr(sessions, "serve_span", None)
    assert run("sessions", tmp_path, "--limit", 1, "--work", work)["arms"] == found["arms"], "from interim results"


def test_stops(tmp_path: Path, runtime: Runtime) -> None:
    """Reads what training has written, and what ships."""
    point = {"accepted": 0.3, "right": 0.2, "joules_per_character": 0.4, "shown_per_100": 9.0, "rejected_per_100": 5.0}
    policy = {
        "preset": "balanced", "family": "rule", "setting": "stop 0.4", "objective": 3.0, "gain": [0.0, 0.0, 0.0], "requests_per_100": 60.0, **point,
    }  # fmt: skip
    (tmp_path / "stops.json").write_text(json.dumps([policy]))
    arguments: Any = SimpleNamespace(work=tmp_path)
    with pytest.raises(Problem, match="green-code train stops"):
        stops.measure(runtime, arguments, print)
    curve = [{"stop": stop, **point} for stop in (0.2, 0.4)]
    suggestions = {"reference": {"files": 5, "characters": 1234}, "always": point, "curve": curve}
    runtime.calibration = {"suggestions": suggestions}
    found = stops.measure(runtime, arguments, print)
    assert "5 files" in found["settings"]["data"] and "1,234 keys" in found["settings"]["data"]
    assert [each.get("stop") for each in found["curve"]] == [0.2, 0.4, None]
    assert len(found["figures"]) == 2 * 3
    found |= provenance(runtime, "stops", {"model": Path(runtime.model)}) | {"notes": []}
    stops.EXPERIMENT.write(found, tmp_path)
    page = (tmp_path / "stops.md").read_text("utf-8")
    assert "| rule | stop 0.4 | 3.0 |" in page and "asking always" in page


def test_functions(run: Run, tmp_path: Path) -> None:
    found = run("functions", tmp_path, "--limit", 2)
    assert [a["arm"].split(", ")[1] for a in found["arms"][::3]] == ["full", "exact", "fast", "full"]
    full, exact = (arm(found, decoding=mode, request="by hand", model="tiny-random") for mode in ("full", "exact"))
    assert (full["passed"], full["tokens"], full["run_aways"]) == (exact["passed"], exact["tokens"], exact["run_aways"])
    assert {len(each["texts"]) for each in found["completions"]} == {2}
    (same,) = (each["arms"] for each in found["completions"] if "tiny-random, full, by hand" in each["arms"])
    assert "tiny-random, exact, by hand" in same, "equal texts are kept once"
    assert sum(len(each["arms"]) for each in found["completions"]) == 12


@pytest.mark.parametrize(
    ("text", "does_pass", "kind"),
    [
        ("return sum(values) / len(values)", True, None),
        ("return sum(values)", False, None),
        ("return sum(values) +", False, None),
        ("return sum(values) / len(values)\n", True, "blank lines at the end"),
        ("return sum(values) / len(values)\n\n\nimport os", True, "text behind the function"),
        ("return sum(values) / len(values)\n    x = 1", True, "text behind the body"),
        ("return sum(values", False, "end within a bracket or string"),
        ("return 'a", False, "end within a bracket or string"),
        ("while True:\n        pass", False, None),
        ("import socket\n    socket.socket()\n    return sum(values) / len(values)", False, None),
        ("import os\n    os.system('true')\n    return sum(values) / len(values)", False, None),
        ("open('a', 'w')\n    return sum(values) / len(values)", False, None),
    ],
)
def test_what_passes_and_what_runs_away(
    text: str, does_pass: bool, kind: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "_SECONDS", 1)
    mean_of, *others = functions.functions()
    assert len(others) == 49 and mean_of.header.startswith("def mean(")
    assert functions.passes(mean_of, "    " + text) == does_pass
    assert functions.run_away(mean_of.header, "    " + text) == kind


def test_paper(run: Run, tmp_path: Path) -> None:
    found = run("paper", tmp_path, "--limit", 1, "--work", tmp_path / "none")
    full = arm(found, setting="Full")
    assert (full["layers"], full["joules_change"], full["rouge_l_change"]) == (6, 0, [0, 0, 0])
    assert full["joules"] < full["uncached"]
    assert len(found["published"]) == 24
    assert "| T=0.9 | 288 | −32.5 % |" in (tmp_path / "paper.md").read_text("utf-8")


def test_energy(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "CONTEXT_TOKENS", 40)
    found = run("energy", tmp_path, "--window-seconds", 0.01, "--repetitions", 5)
    assert [(a["layer"], a["skipped"]) for a in found["arms"]] == [(i, 6 - i) for i in range(1, 7)]
    assert all(a["joules"][0] > 0 for a in found["arms"]) and found["arms"][-1]["of_full"] == 1
    assert "5 of 0.01 s or longer for each arm" in found["settings"]["windows"]


def test_baselines(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "TOKENS", 3)
    monkeypatch.setattr(baselines, "PROMPT_TOKENS", 40)
    found = run("baselines", tmp_path, "--window-seconds", 0.01, "--repetitions", 2)
    names = [a["arm"] for a in found["arms"]]
    assert names[:2] == ["no cache, full depth", "cache, full depth"]
    assert names[-2:] == ["cache, exact as served", "cache, fast as served, T=0.99"]
    # Full depth gives the same tokens without a cache, and where drafts are verified.
    same = {a["arm"]: a["same_tokens"] for a in found["arms"]}
    assert {same[name] for name in (*names[:2], "cache, exact as served")} == {1}


@pytest.mark.slow
def test_rewards(run: Run, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "_CONSTANTS", (("β", "beta", (0.0,)),))
    monkeypatch.setattr(rewards, "usable_cores", lambda: 1)
    monkeypatch.setattr(rewards.ppo, "PAPER", replace(ppo.PAPER, steps=64))
    monkeypatch.setattr(rewards, "_ERROR_PRICES", (1.0,))
    data = replace(toy(), weights=load_bundle(tiny_bundle).weights_key)
    for part in ("train", "heldout"):
        write_rollouts(tmp_path / "rollouts" / part, data)
    found = run("rewards", tmp_path, "--updates", 2, "--work", tmp_path)
    usual = "α = β = γ = 1"
    paper = [("paper's reward, its PPO", setting) for setting in (usual, f"{usual}, the paper's network", "β = 0")]
    own = [("paper's reward, our PPO", usual), ("joules, our PPO", "error 1"), ("joules, supervised", "error 1")]
    rules = [("rules", setting) for setting in ("fixed 2", "fixed 4", "full", "oracle")]
    assert [(a["reward"], a["setting"]) for a in found["arms"]] == [*paper, *own, *rules]
    full, fixed = arm(found, setting="full"), arm(found, setting="fixed 2")
    assert full["agreement"] == 1 and full["saving"] == pytest.approx(0) and fixed["depth"] == 2
    assert all("ended" in a or 0 <= a["agreement"] <= 1 for a in found["arms"])
    assert [a["setting"] for a in found["rewarded"]] == [usual, "β = 0"]
    for pays in found["rewarded"]:
        assert max(pays["first"], pays["fixed"], pays["full"], pays["agent"]) <= pays["most"]
    families = {a["family"] for a in found["thresholds"]}
    assert {"paper's reward, its PPO", "joules, supervised", "confidence", "fixed", "full", "oracle"} <= families
    # Finished agents are not trained again.
    monkeypatch.setattr(rewards.Training, "_trained", None)
    assert run("rewards", tmp_path, "--updates", 2, "--work", tmp_path)["arms"] == found["arms"]


@pytest.mark.slow
def test_weight_search(run: Run, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = weight_search.Scale(SmallModel(4, 64, 64, 1024), tokens=512, positions=256, more_positions=512)
    monkeypatch.setattr(weight_search, "Scale", lambda _: scale)
    monkeypatch.setattr(weight_search, "_SEEDS", 2)
    monkeypatch.setattr(weight_search, "usable_cores", lambda: 1)
    words = ("weight-search", tmp_path, "--work", work, "--tokens", 2048, "--trials", 12)
    with pytest.raises(Problem, match=r"0 of 12 trials.*it goes on"):
        run(*words, "--minutes", 1e-9)
    found = run(*words)
    models = [arm["model"] for arm in found["arms"]]
    assert models == ["small, 4 layers"] * 5 + ["tiny-random, 6 layers"] * 4
    for arms in (found["arms"][:5], found["arms"][5:]):
        assert [arm["weights"] for arm in arms[:2]] == [weight_search.DEFAULT, weight_search.PAPER]
    assert found["arms"][5]["score"] == pytest.approx(100 * found["arms"][5]["agreement"], rel=1e-4)
    assert [row["depth"] for row in found["depths"]] == [1, 2, 3, 4] and "12 trials" in found["settings"]["search"]
    # Finished trials are not trained again, of either model.
    for module in ("weight_search", "weight_trials"):
        monkeypatch.setattr(f"green_code_lab.experiments.{module}.train", None)
    assert run(*words)["arms"] == found["arms"]
