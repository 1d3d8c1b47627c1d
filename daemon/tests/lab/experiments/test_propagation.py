"""The propagating cache against layers computed by hand, and the experiment as a command over a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from green_code.decoding.effort import Effort
from green_code.engine.runtime import Runtime, load_runtime
from torch import Tensor

from green_code.decoding.exit_policies import Full, Policy, View
from green_code.decoding.generate import fast
from green_code.decoding.healing import Chooser
from green_code.decoding.kv_cache import KVCache
from green_code.energy.costs import CostModel, Work
from green_code.models.bundle import load_bundle
from green_code.models.catalog import TINY, find_model
from green_code.models.decoder import Decoder
from green_code.models.tiny import TinySource
from green_code.models.weights import adapted_weights
from green_code.settings import default_settings
from green_code_lab.cli.experiments import main
from green_code_lab.experiments import propagation, propagation_page
from green_code_lab.experiments.plots import draw_propagation
from green_code_lab.experiments.propagating_cache import PromptAtFullDepth, PropagatingCache
from tests.decoding.by_hand import by_hand
from tests.decoding.references import DECODERS, TOLERANCE

PROMPT, TOKENS = 5, 18  # positions put in together, and all: more than tiny's window of 8


# --- the cache --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tiny_bundle: Path) -> Runtime:
    return load_runtime(TINY)


def depths(layers: int) -> list[int]:
    """Where each position leaves, down and up. A prompt's are at full depth but for its last; of those before that one, the last
    layer makes keys and values alone."""
    last = layers
    return (
        [last - 1] * (PROMPT - 2)
        + [last]
        + [last - 1, last - 1, 2, last, 1, 3, 2, last, 1, 1, last - 1, 3, last, 2]
    )


def tokens() -> list[int]:
    return [3 + (7 * i) % 70 for i in range(TOKENS)]


def climbed(cache: KVCache) -> Tensor:
    """Put in `tokens` as generation does, each brought to its depth: the states (N, C) there, of the prompt's last on."""
    wanted = depths(cache.decoder.config.layers)
    cache.append(tokens()[:PROMPT])
    states = [cache.advance(PROMPT - 1, wanted[PROMPT - 1], PROMPT - 1).clone()]
    for position in range(PROMPT, TOKENS):
        cache.append([tokens()[position]])
        states.append(cache.advance(position, wanted[position], position).clone())
    return torch.stack(states)


@pytest.mark.parametrize("name", DECODERS)
def test_entries_and_deeper_states_are_those_computed_by_hand(name: str) -> None:
    decoder = DECODERS[name]
    cache = PropagatingCache(decoder)
    climbed(cache)
    states, keys, values = by_hand(decoder, tokens(), depths(decoder.config.layers))
    torch.testing.assert_close(cache.states(0, TOKENS), states, **TOLERANCE)
    cache.append([3])  # what the last position skipped is handed on, too
    torch.testing.assert_close(cache._keys[:, :, :TOKENS].transpose(1, 2), keys, **TOLERANCE)
    torch.testing.assert_close(cache._values[:, :, :TOKENS].transpose(1, 2), values, **TOLERANCE)


@pytest.mark.parametrize("name", DECODERS)
def test_states_are_the_staircases_until_a_position_goes_deeper_than_an_earlier_one(name: str) -> None:
    decoder = DECODERS[name]
    left = depths(decoder.config.layers)[PROMPT - 1 :]
    first = next(i for i, depth in enumerate(left) if i and depth > min(left[:i]))
    found, true = climbed(PropagatingCache(decoder)), climbed(PromptAtFullDepth(decoder))
    torch.testing.assert_close(found[:first], true[:first], **TOLERANCE)
    assert not torch.allclose(found[first], true[first], atol=1e-3, rtol=1e-3)


def test_what_serves_here_hands_on_as_well(served: Runtime, tiny_bundle: Path) -> None:
    """The kernel, where it is built: with 8 bits it is nearer to propagation by hand than an exact cache is."""
    config, weights = adapted_weights(find_model(TINY), load_bundle(tiny_bundle))
    decoder = Decoder.load(config, weights)
    expected = by_hand(decoder, tokens(), depths(config.layers))[0][PROMPT - 1 :]

    def error(cache: KVCache) -> float:
        found = climbed(cache).float().cpu()
        return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).mean())

    assert error(PropagatingCache(served.decoder)) < 0.4 * error(PromptAtFullDepth(decoder))


class Alternate:
    """Stops at its one exit for every second token."""

    exits, network_runs = (2,), 0

    def __init__(self) -> None:
        self.asked = 0

    def stop(self, view: View) -> bool:
        self.asked += 1
        return self.asked % 2 == 1


def generated(served: Runtime, cache: KVCache, policy: Policy) -> list[tuple[int, int]]:
    """(token, depth) of the first 12 tokens behind a prompt."""
    cache.append(tokens()[:PROMPT])
    with torch.inference_mode():
        stream = fast(cache, policy, Chooser(served.vocabulary), b"", Effort())
        return [next(stream) for _ in range(12)]


def test_at_full_depth_it_is_the_staircase(served: Runtime) -> None:
    decoder = DECODERS["tiny"]
    cache, cache, plain = PropagatingCache(decoder), PromptAtFullDepth(decoder), KVCache(decoder)
    found = generated(served, cache, Full())
    assert found == generated(served, cache, Full()) == generated(served, plain, Full())
    assert cache.tokens == cache.tokens == plain.tokens
    for name in ("_states", "_keys", "_values", "_lengths", "runs", "evaluations", "few"):
        one, other = getattr(cache, name), getattr(cache, name)
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other, name
    assert cache.propagated == 0


def test_generation_takes_it_as_it_takes_the_staircase(served: Runtime) -> None:
    decoder = DECODERS["tiny"]
    cache, cache = PropagatingCache(decoder), PromptAtFullDepth(decoder)
    for own in (cache, cache):
        assert [depth for _, depth in generated(served, own, Alternate())] == [2, 6] * 6
    kv_only = PROMPT - 2  # of the prompt, the last layer makes keys and values alone
    assert cache.evaluations == 6 * (PROMPT - 1) - kv_only + 6 * (2 + 6)  # no position is brought up later
    # All are, to the last layer, which makes keys and values alone.
    assert cache.evaluations == 6 * (PROMPT + 11) - kv_only - 6
    assert (cache.propagated, cache.propagated) == (6 * 4, 0)


def test_its_accounts() -> None:
    cache = PropagatingCache(DECODERS["tiny"])
    climbed(cache)
    left = depths(6)
    cache.append([3])
    assert cache.evaluations == sum(left)
    assert cache.propagated == sum(6 - depth for depth in left[PROMPT - 1 :])
    assert [cache.evaluations_below(i) for i in (PROMPT, TOKENS)] == [sum(left[:PROMPT]), sum(left)]
    assert cache.pending(TOKENS, 6) == 6
    with pytest.raises(ValueError, match="stands at depth 6"):
        cache.advance(TOKENS - 1, 5)
    cache.truncate(PROMPT)
    assert cache.evaluations_below(PROMPT) == sum(left[:PROMPT])
    cache.append([3, 4])
    assert [cache.depth(i) for i in range(PROMPT, PROMPT + 2)] == [6, 0]


# --- the experiment ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(with_agent: None, small_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("propagation")
    words = ["propagation", "--model", TINY, "--data", str(small_rows), "--limit", "2"]
    assert main([*words, "--work", str(folder / "work"), "--out", str(folder)]) == 0
    return folder


def test_every_policy_on_both_caches(written: Path) -> None:
    found = json.loads((written / "propagation.json").read_text())
    assert found["rows"] == {"python": 2, "java": 2}
    own = [arm for arm in found["arms"] if arm["language"] == "java"]
    full, *pairs = own
    assert found["taught"] == [2, 4]
    assert (full["family"], full["same_as_full"], full["mean_depth"]) == ("full depth", 1, 6)
    assert {arm["family"] for arm in pairs} == {"agent", "confidence", "fixed exit"}
    for cache, other in zip(pairs[::2], pairs[1::2], strict=True):
        assert (cache["family"], cache["setting"]) == (other["family"], other["setting"])
        assert (cache["cache"], other["cache"]) == ("cache", "propagation")
        assert cache["from_staircase"]["edit_similarity"] == {"mean": 0, "interval": [0, 0]}
        assert cache["propagated"] == 0
        for name in ("edit_similarity", "exact_match", "same_as_full", "joules"):
            assert other["from_staircase"][name]["mean"] == pytest.approx(other[name] - cache[name])
        if other["family"] == "fixed exit":
            assert (other["same_as_staircase"], other["deeper"]) == (1, 0)
            assert other["evaluations"] == cache["evaluations"]
            assert other["propagated"] > 0
            assert other["joules"] - cache["joules"] == pytest.approx(other["propagation_joules"])


def test_page_and_plot_are_made_from_the_data(written: Path, tmp_path: Path) -> None:
    text = (written / "propagation.md").read_text()
    for name in (
        "full depth",
        f"agent T={default_settings().threshold}, propagation",
        "fixed exit 2, cache",
        "confidence τ=0.5, propagation",
    ):
        assert f"| {name} |" in text
    assert "are the same in 8 of 8 completions" in " ".join(text.split())
    assert str(written) not in text
    draw_propagation(json.loads((written / "propagation.json").read_text()), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (written / "propagation.svg").read_bytes()


def test_the_share_of_keys_and_values_by_hand() -> None:
    # tiny: 64 wide, 4 and 2 heads of 32, an MLP of 3 matrices of 128 by 64.
    both = 64 * 2 * 64
    assert propagation.key_value_share(TinySource().config) == both / (both + 2 * 64 * 128 + 3 * 64 * 128)


def test_work_after_the_prompt_by_hand() -> None:
    costs = CostModel(1.0, 0.5, 0.25, 8.0, 1.0, 0.0, 0.125, "estimate", "", 0.0, 1.0)
    # Six positions of prompt, three layers: five of them to full depth first, four without the last layer, which makes their
    # keys and values. Then the last one to layer 1, and one more to layer 3, which brings up the first, without the last
    # layer again: 1 + 3 + 1 evaluations and an entry in 1 + 3 runs, and two heads.
    work = Work(runs=3 + 4, evaluations=11 + 5, few=9 + 5, heads=2, head_rows=2, entries=4 + 1)
    row = {
        "layers_total": 3, "prompt_tokens": 6, "layers_run": 3, "prompt_layers_run": 13,
        "energy_joules": costs.joules(work), "reason": "max_tokens",
    }  # fmt: skip
    found = propagation.after_prompt(row, costs)
    assert found["evaluations"] == 5
    assert found["joules"] == pytest.approx(4 * 1.0 + 5 * 0.5 + 2 * 9.0 + 0.125)
    empty = {**row, "layers_run": 0, "prompt_layers_run": 0, "energy_joules": 0.0, "reason": "no_context"}
    assert (
        propagation.after_prompt(empty, costs)["evaluations"],
        propagation.after_prompt(empty, costs)["joules"],
    ) == (0, 0)


def test_deeper_tokens_by_hand() -> None:
    assert propagation.deeper([[13, 13, 15], [18, 15, 13], [13, 18, 15, 13], []]) == 3 / 10
    assert propagation.deeper([[]]) == 0


@pytest.mark.parametrize(
    ("interval", "depth", "deeper", "says"),
    [
        ((-3.0, -1.0), 15.0, 0.25, ("loses −2.0 [−3.0, −1.0] of edit similarity", "It mixes depths: mean depth 15.0, and 25.0 %")),
        ((-3.0, 1.0), 15.0, 0.01, ("is not told apart from the cache: −2.0 [−3.0, +1.0] of edit", "It hardly mixes depths: ")),
        ((1.0, 3.0), 17.5, 0.25, ("gains −2.0", "It hardly leaves early: ")),
    ],
)  # fmt: skip
def test_a_sentence_follows_the_intervals(
    interval: tuple[float, float], depth: float, deeper: float, says: tuple[str, str]
) -> None:
    arm = {
        "family": "agent", "setting": "T=0.9", "mean_depth": depth, "deeper": deeper, "same_as_full": 0.5, "joules": 0.046,
        "from_staircase": {
            "edit_similarity": {"mean": -2.0, "interval": interval},
            "same_as_full": {"mean": -0.25, "interval": (-0.5, 0.0)},
            "joules": {"mean": -0.004, "interval": (-0.006, 0.002)},
        },
    }  # fmt: skip
    said = propagation_page._says(arm, 18)
    assert said.startswith("Agent T=0.9: propagation ")
    for part in (
        *says,
        "50.0 % of its texts are full depth's, −25.0 [−50.0, +0.0] from the cache's.",
        "A token costs 46.0 mJ, −4.0 [−6.0, +2.0] from the cache's.",
    ):
        assert part in said


def test_differences_are_of_pairs_and_joules_are_a_token() -> None:
    def row(similarity: float, text: str, tokens: int, joules: float) -> dict[str, object]:
        return {
            "language": "java", "edit_similarity": similarity, "exact_match": 0.0, "text": text, "tokens": tokens,
            "joules": joules, "propagation_joules": 0.0, "propagated": 0, "evaluations": 6 * tokens, "exits": [6] * tokens,
        }  # fmt: skip

    full = [row(50, "a", 1, 2.0), row(50, "b", 3, 2.0)]
    cache = [row(50, "a", 1, 1.0), row(70, "b", 3, 2.0)]
    (found,) = propagation.summaries([row(40, "a", 2, 3.0), row(60, "c", 2, 3.0)], full, cache)
    assert found["from_staircase"]["edit_similarity"] == {"mean": -10, "interval": (-10, -10)}
    assert found["from_staircase"]["same_as_full"]["mean"] == -0.5
    assert found["joules"] == 6 / 4
    assert found["from_staircase"]["joules"]["mean"] == 6 / 4 - 3 / 4
    # Of the first pair alone, and of the second alone: the bootstrap's ends.
    assert found["from_staircase"]["joules"]["interval"] == pytest.approx((3 / 2 - 1 / 1, 3 / 2 - 2 / 3))
    assert (found["same_as_full"], found["same_as_staircase"], found["evaluations"]) == (0.5, 0.5, 6)
