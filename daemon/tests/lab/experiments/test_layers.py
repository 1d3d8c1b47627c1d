"""The experiment as a command, over a tiny model: what it compares, what it writes, and how a cut run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from green_code.engine.runtime import Runtime, Session, load_runtime

from green_code.kernels.binding import LEVEL_VARIABLE
from green_code.models.catalog import TINY, find_model
from green_code.models.decoder import Decoder
from green_code.models.weights import adapted_weights
from green_code_lab.cli.experiments import main
from green_code_lab.evaluation.datasets import Row
from green_code_lab.evaluation.metrics import edit_similarity
from green_code_lab.experiments import layers, layers_page
from green_code_lab.experiments.plots import draw_layers

ROWS = [
    Row(f"{language}-{i}", language, f"x{i} = ", "", f"{i}")
    for language in ("python", "java")
    for i in range(3)
]
LIMIT, COMPLETIONS = (
    2,
    2 * 2 * (6 + 3),
)  # rows a language × languages × (every layer, and two exits and the last)


def command(folder: Path) -> list[str]:
    """Over rows in `folder`, which the files are written to as well."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(vars(row)) + "\n" for row in ROWS))
    words = ["layers", "--model", TINY, "--data", str(path), "--limit", str(LIMIT)]
    return [*words, "--work", str(folder / "work"), "--out", str(folder)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    assert main(command(folder)) == 0
    return folder


def decoder_of(runtime: Runtime) -> Decoder:
    assert isinstance(runtime.decoder, Decoder)
    return runtime.decoder


def test_untouched_is_the_base_with_the_bundles_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEVEL_VARIABLE, "off")  # whose weights can be read back
    adapted = load_runtime(TINY)
    base = layers.untouched(adapted)
    assert len(base.vocabulary) == len(adapted.vocabulary)
    _, weights = adapted_weights(find_model(TINY), None)
    for name, weight in decoder_of(base).state_dict().items():
        expected = weights[name][: len(weight)].to(base.decoder.dtype)
        torch.testing.assert_close(weight.cpu(), expected, rtol=0, atol=0)
    changed = [
        n
        for n, w in decoder_of(adapted).state_dict().items()
        if not torch.equal(w, decoder_of(base).state_dict()[n])
    ]
    assert changed == ["layers.0.mlp_norm.weight"]


def test_every_layer_of_the_base_and_every_exit_of_the_bundle(written: Path) -> None:
    found = json.loads((written / "layers.json").read_text())
    assert found["rows"] == {"python": LIMIT, "java": LIMIT}
    by_model = {
        model: sorted({p["layer"] for p in found["points"] if p["model"] == model})
        for model in ("untouched", "adapted")
    }
    assert by_model == {"untouched": [1, 2, 3, 4, 5, 6], "adapted": [2, 4, 6]}
    assert all(p["same_as_full"] == 1 for p in found["points"] if p["layer"] == 6)
    means = {(p["model"], p["layer"], p["language"]): p["edit_similarity"] for p in found["points"]}
    for model, layer in (("untouched", 1), ("adapted", 4)):  # both rows of a language are shown as examples
        texts = [
            (c["text"], e["reference"])
            for e in found["examples"]
            for c in e["completions"]
            if e["language"] == "java" and (c["model"], c["layer"]) == (model, layer)
        ]
        assert means[model, layer, "java"] == pytest.approx(
            sum(edit_similarity(*pair) for pair in texts) / LIMIT
        )
    for change in found["differences"]:
        layer, language = change["layer"], change["language"]
        expected = means["adapted", layer, language] - means["untouched", layer, language]
        assert change["edit_similarity"] == pytest.approx(expected)


def test_files_name_no_folders_and_a_plot_is_the_same_for_the_same_data(
    written: Path, tmp_path: Path
) -> None:
    for name in ("layers.json", "layers.md", "layers.svg"):
        assert str(written) not in (written / name).read_text()
    assert "--data rows.jsonl" in (written / "layers.md").read_text()
    draw_layers(json.loads((written / "layers.json").read_text()), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (written / "layers.svg").read_bytes()


def test_a_cut_run_goes_on_and_a_finished_one_is_not_made_again(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed: list[str] = []
    complete = Session.complete

    def counted(self: Session, params: Any, *rest: Any) -> Any:
        if len(completed) == 7:
            completed.append("cut")
            raise KeyboardInterrupt
        result = complete(self, params, *rest)
        completed.append(params["policy"])
        return result

    monkeypatch.setattr(Session, "complete", counted)
    with pytest.raises(KeyboardInterrupt):
        main(command(tmp_path))
    assert main(command(tmp_path)) == 0
    assert len(completed) == COMPLETIONS + 1
    whole = json.loads((written / "layers.json").read_text())
    assert json.loads((tmp_path / "layers.json").read_text())["points"] == whole["points"]
    assert main(command(tmp_path)) == 0
    assert len(completed) == COMPLETIONS + 1


def test_every_token_is_guessed_by_every_layer(written: Path) -> None:
    found = json.loads((written / "layers.json").read_text())
    for model in ("untouched", "adapted"):
        guessed = found["predictions"][model]
        assert min(guessed["tokens"].values()) > 0
        for by in guessed["scores"].values():
            assert by["agreement"][str(found["layers"])] == 1
            assert all(0 <= value <= 1 for value in by["accuracy"].values())
            own = {p["layer"] for p in found["points"] if p["model"] == model}
            assert set(map(int, by["accuracy"])) == own


def test_the_page_tells_exits_apart_by_their_intervals() -> None:
    point = {
        "rows": 9, "exact_match": 0.0, "edit_similarity": 20.0, "edit_similarity_interval": [15.0, 25.0],
        "rouge_l": 0.125, "same_as_full": 0.25, "language": "python",
    }  # fmt: skip
    last = {**point, "exact_match": 0.5, "edit_similarity": 60.0, "edit_similarity_interval": [50.0, 70.0]}
    near = {**last, "exact_match": 0.25, "edit_similarity_interval": [40.0, 51.0]}
    found = {
        "experiment": "layers", "date": "2026-01-01", "command": "command", "model": "model", "rows": {"python": 9},
        "rows_from": "rows", "seed": 0, "max_tokens": 32, "max_prompt_tokens": 512, "layers": 3, "examples": [],
        "machine": dict.fromkeys(("processor", "gpu", "cores", "threads", "compute", "torch", "python", "system", "green_code"), 1),
        "points": [
            {**point, "model": "untouched", "layer": 1}, {**near, "model": "untouched", "layer": 2}, {**last, "model": "untouched", "layer": 3},
            {**point, "model": "adapted", "layer": 1}, {**last, "model": "adapted", "layer": 2}, {**last, "model": "adapted", "layer": 3},
        ],
        "predictions": {
            name: {
                "tokens": {"python": 192},
                "scores": {"python": {"accuracy": dict.fromkeys("123", 0.25), "agreement": dict.fromkeys("123", 0.875)}},
            }
            for name in ("untouched", "adapted")
        },
        "differences": [
            {"layer": 1, "language": "python", "edit_similarity": 0.02, "interval": [-0.04, 3.0]},
            {"layer": 2, "language": "python", "edit_similarity": 9.0, "interval": [4.0, 12.0]},
            {"layer": 3, "language": "python", "edit_similarity": -7.0, "interval": [-9.0, -5.0]},
        ],
    }  # fmt: skip
    page = " ".join(layers_page.page(found).split())
    assert "the first layer that completes a line exactly is 2 (25.0 % of the rows)" in page
    assert "meets that of layer 3 is 2" in page
    assert "Python: higher at layer 2, lower at layer 3, not told apart at layer 1." in page
    assert "layer 1, completes 0.0 % of the rows exactly and 25.0 % as layer 3 does" in page
    assert "| 1 | 0.0 % | 20.0 [15.0, 25.0] | 0.125 | 25.0 % | 25.0 % | 87.5 % | +0.0 [+0.0, +3.0] |" in page
