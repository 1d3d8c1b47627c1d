"""With a cache and without one: the same tokens at full depth, the work that each arm does, and what the page says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from green_code.engine.runtime import Runtime, load_runtime

from green_code.models.catalog import TINY
from green_code_lab.cli.experiments import main
from green_code_lab.experiments import baselines, baselines_page

PROMPT = list(range(5, 40))


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return load_runtime(TINY)


def evaluations(runtime: Runtime, arm: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Layer × position evaluations of one completion."""
    count = 0
    run_layers = runtime.decoder.run_layers

    def counted(first, last, states, start, stop, *rest):  # type: ignore[no-untyped-def]
        nonlocal count
        count += (last + 1 - first) * (stop - start)
        run_layers(first, last, states, start, stop, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(runtime.decoder, "run_layers", counted)
        baselines.arms(runtime)[arm][1](PROMPT)
    return count


def test_full_depth_gives_the_same_tokens_with_a_cache_and_without(runtime: Runtime) -> None:
    chosen = baselines.arms(runtime)
    tokens = [
        chosen[name][1](PROMPT)
        for name in ("no cache, full depth", "cache, full depth", "cache, exact as served")
    ]
    assert tokens[0] == tokens[1] == tokens[2] and len(tokens[0]) == baselines.TOKENS


def test_without_a_cache_every_position_is_computed_for_every_token(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, first = runtime.layers_total, len(PROMPT)
    anew = sum(range(first, first + baselines.TOKENS))
    assert evaluations(runtime, "no cache, full depth", monkeypatch) == layers * anew
    once = first + baselines.TOKENS - 1
    # Of the prompt but its last position, the last layer makes keys and values alone.
    assert evaluations(runtime, "cache, full depth", monkeypatch) == layers * once - (first - 1)


def test_the_command_writes_its_page(tmp_path: Path) -> None:
    words = [
        "baselines",
        "--model",
        TINY,
        "--window-seconds",
        "0.01",
        "--repetitions",
        "5",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 0
    found = json.loads((tmp_path / "baselines.json").read_text())
    assert [arm["arm"] for arm in found["arms"]][:2] == ["no cache, full depth", "cache, full depth"]
    assert len(found["windows"]) == 5 * len(found["arms"])
    assert (tmp_path / "baselines.svg").is_file()


def test_the_page_tells_the_two_baselines_apart() -> None:
    def arm(name: str, joules: float, uncached: float, cached: float) -> dict[str, object]:
        return {
            "arm": name, "cache": name.startswith("cache"), "joules": joules, "joules_interval": [joules, joules], "cpu_seconds": 0.1,
            "wall_seconds": 0.1, "agreement": 1.0,
            "from_uncached": {"mean": uncached, "interval": [uncached, uncached]},
            "from_cached": {"mean": cached, "interval": [cached, cached]},
        }  # fmt: skip

    found = {
        "experiment": "baselines", "date": "2026-01-01", "command": "command", "prompts": 5, "prompt_tokens": 256, "tokens": 12,
        "window_seconds": 10.0, "repetitions": 6, "seed": 0, "source": "estimate", "meter": "estimate: CPU-seconds",
        "machine": dict.fromkeys(("processor", "gpu", "cores", "threads", "compute", "torch", "python", "system", "green_code"), 1),
        "arms": [
            arm("no cache, full depth", 12.0, 0.0, -7.0), arm("cache, full depth", 1.5, 0.875, 0.0),
            arm("no cache, agent, T=0.5", 9.0, 0.25, -5.0), arm("cache, agent, T=0.5", 1.2, 0.9, 0.2),
        ],
    }  # fmt: skip
    page = " ".join(baselines_page.page(found).split())
    assert "A cache alone, at full depth, saves 87.5 % [87.5, 87.5]" in page
    assert "agent, T=0.5 saves 25.0 % [25.0, 25.0] against that baseline" in page
    assert "it takes 6.0 times what plain decoding with a cache takes" in page
    assert "agent, T=0.5, with a cache: 20.0 % [20.0, 20.0] saved" in page
