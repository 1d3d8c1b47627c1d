"""Launches and synchronisations for the paper's models, counted on their shapes without weights; and the stand-in's rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import green_code
from green_code.decoding.stop_network import PARAMETER_SHAPES, StopNetwork
from green_code.decoding.stopping import Refusal, StopAgent, StopView
from green_code.decoding.value_heads import ValueHeads, parameter_shapes, value_depths
from green_code.decoding.verifier import Decoded
from green_code.gpu.decoder import ROW_BUCKETS, GpuDecoder
from green_code.gpu.plan import DeviceClassifier, HeadScratch, Plan, Scratch
from green_code.gpu.weights import DeviceMatrix, Weights
from green_code.kernels.packing import Extras
from green_code.models.config import ModelConfig
from green_code_lab.benchmark.gpu_check.planned import counting, exits_of, table, waits
from green_code_lab.benchmark.gpu_check.stand_in import NotRecordable, Recorder, StandIn
from green_code_lab.benchmark.gpu_shapes import PAPER, SHAPES
from tests.gpu.references import CONFIGS, gpu_decoder, random_weights


def plan_of(config: ModelConfig, extras: Extras, bits: int = 8) -> Plan:
    return Plan(Weights.planned(config, extras, bits), torch.bfloat16, torch.device("meta"))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rows", ROW_BUCKETS)
def test_a_layer_is_eight_launches(name: str, rows: int) -> None:
    config = SHAPES[name]
    plan, recorder = plan_of(config, Extras()), Recorder()
    plan.layers(recorder, 3, 6, Scratch(config, rows, plan.like(), 8), 8)
    span = 1 if config.row.sandwich_norms else 0  # what an output norm adds at the end of a span
    assert len(recorder.launches) == 4 * 8 + span
    assert {launch.name for launch in recorder.launches} == {"norm_rows", "linear", "rope_cache", "attend"}
    assert all(all(1 <= size < 1 << 16 for size in launch.grid) for launch in recorder.launches)


@pytest.mark.parametrize("name", PAPER)
def test_an_exit_of_the_papers_models_ends_with_sixteen_bytes_a_row(name: str) -> None:
    config = SHAPES[name]
    depth = config.layers // 2
    plan, recorder = plan_of(config, Extras((depth,), (), 128)), Recorder()
    inner = torch.empty(64, config.width, device="meta")
    classifier = DeviceClassifier(
        DeviceMatrix(64, config.width, 32, inner, inner, inner), inner, inner, inner, 0.0, 1.0, 6.0
    )
    scratch = HeadScratch(config, 128, 64, plan.like())
    plan.head(recorder, depth, 4, scratch, classifier)
    # The state for the classifier and its product, lens (norm, product), final norm, down, preview, candidates, scores, top, decision.
    assert len(recorder.launches) == 11
    assert scratch.results[:1].nbytes == 16
    full = Recorder()
    plan.head(full, config.layers, 4, scratch, None)
    assert len(full.launches) == 6


@pytest.mark.parametrize("name", [*SHAPES, *CONFIGS])
def test_a_token_waits_once_for_each_exit_and_once_at_the_end(name: str) -> None:
    """On the published shapes with the paper's exits, and on each family with nine."""
    if name in SHAPES:
        config, exits = SHAPES[name], exits_of(SHAPES[name])
    else:
        few = CONFIGS[name]
        config, exits = replace(few, layers=20, windows=few.windows * 10, ropes=few.ropes * 10), tuple(range(2, 20, 2))
    for chosen in ((), exits):
        assert waits(config, chosen, tokens=8) == 8 * (len(chosen) + 1)


def test_the_papers_model_of_28_layers_has_nine_exits() -> None:
    assert len(exits_of(SHAPES["Llama-3.2-3B"])) == 9


def test_a_value_head_waits_once_for_a_request_and_a_stop_agent_never() -> None:
    config = SHAPES["Llama-3.2-3B"]
    cache, machine = counting(config, ())
    depths = value_depths(config.layers)
    assert len(depths) == 2
    shapes = parameter_shapes(config.width, depths, 4)
    heads = ValueHeads(config.width, depths, 4, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    refusal = Refusal(heads, dict.fromkeys(depths, 1.0), [0.0] * 4)
    cache.append([0, 0])
    for count, depth in enumerate(depths, start=1):
        cache.advance(1, depth)
        assert not refusal.refuses(cache, 1, depth) and machine.synchronisations == count
    network = StopNetwork({name: np.zeros(shape, np.float32) for name, shape in PARAMETER_SHAPES.items()})
    right = StopAgent(network, 0.4, "x = ").right(cache, StopView(Decoded(5, config.layers, 1.0, 1), 0.5, 1, 4))
    assert right == 0.5 and machine.synchronisations == len(depths)


def test_the_page_has_the_table_that_the_plan_gives() -> None:
    assert table() in Path(green_code.__file__).parents[2].joinpath("docs", "gpu.md").read_text("utf-8")


def counted(body) -> StandIn:  # type: ignore[no-untyped-def]
    machine = StandIn()
    machine.record(body).replay()
    return machine


def test_a_graph_takes_launches_copies_and_views_alone() -> None:
    source, target = torch.arange(6.0), torch.zeros(3)
    counted(lambda launch: launch.copy(target, source[1:4]))
    assert target.tolist() == [1, 2, 3]
    for wrong in (
        lambda launch: torch.zeros(3),  # an allocation
        lambda launch: launch.copy(target, source[:3] + 1),
        lambda launch: float(source[0]),  # a read by the host
        lambda launch: source.nonzero(),  # a shape that depends on values
    ):
        with pytest.raises((NotRecordable, RuntimeError)):
            counted(wrong)


def test_a_replay_of_what_has_moved_or_changed_fails() -> None:
    machine, source, target = StandIn(), torch.arange(6.0), torch.zeros(6)
    graph = machine.record(lambda launch: launch.copy(target, source))
    graph.replay()
    kept = source.data
    source.data = source.data.clone()
    with pytest.raises(NotRecordable, match="moved"):
        graph.replay()
    source.data = kept
    graph.replay()
    target.resize_(3)
    with pytest.raises(NotRecordable, match="shape"):
        graph.replay()


def test_graphs_are_recorded_once_for_a_bucket_and_serve_every_cache() -> None:
    config = CONFIGS["llama"]
    decoder: GpuDecoder = gpu_decoder(config, random_weights(config), 8)
    one, other = decoder.new_buffers(8), decoder.new_buffers(16)
    found = []
    for buffers, rows in ((one, 3), (other, 4), (one, 4)):
        decoder.embed_into(buffers, 0, [5, 6, 7, 8][:rows])
        decoder.run_layers(1, 2, buffers, 0, rows)
        found.append(decoder.top_tokens(buffers, [rows - 1], 2)[0])
    assert len(decoder.machine.recorded) == 2, "one embeds, one runs layers and head"
    assert decoder.machine.synchronisations == 3
    assert found[1] == found[2] != found[0]
