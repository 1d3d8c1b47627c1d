"""Loading a model with its bundle: weights, contents, costs, and the exit policy of a request.

Must not know: connections, sessions, editors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from green_code.decoding.bundle_contents import BundleContents, read_contents
from green_code.decoding.exit_policies import LIKELIEST, Agent, Full, Policy, agent_for, parse_policy
from green_code.decoding.healing import Chooser
from green_code.decoding.stopping import Refusal, RunningProduct, StopAgent, StopPolicy
from green_code.energy.costs import CostModel
from green_code.energy.meters import SHORT_WINDOW_SECONDS, pick_meter
from green_code.energy.rows import UNKNOWN
from green_code.engine.assumed_costs import assumed_costs, token_work
from green_code.engine.conversion import config_apart, convert_apart
from green_code.engine.device_room import Fit, fit
from green_code.engine.devices import (
    check_device,
    choose_device,
    device_problem,
    keep_measured,
    pick_card,
    read_measured,
)
from green_code.engine.interfaces import MakeRoom, Progress
from green_code.engine.measured_costs import CostMeasurement, measured_costs, token_seconds
from green_code.engine.prompts import layout_of
from green_code.engine.session import Session
from green_code.kernels.weight_format import weight_formats
from green_code.link.messages import CompletionParams
from green_code.memory import give_back_memory
from green_code.models.bundle import bundle_of
from green_code.models.catalog import TINY, Found, find_model
from green_code.models.config import ModelConfig
from green_code.models.conversion import convert
from green_code.models.rows import ROWS
from green_code.models.weights import Model, open_model
from green_code.problems import Problem
from green_code.settings import STOPS


def load_runtime(
    model: str, progress: Progress = lambda *_: None, device: str = "cpu", make_room: MakeRoom = lambda _: None
) -> Runtime:
    """Find a model, convert it if need be, and load it with its bundle. Its costs are assumed until they are measured.

    Args:
        device: see `devices.choose_device`. make_room: called before the weights are opened.
    Raises:
        Problem: the model or its bundle is missing or damaged, or the cache cannot be written.
        DeviceProblem: the device cannot be used.
    """
    found, contents = find_model(model), read_contents(bundle_of(model))
    chosen = chosen_device(device, found)
    if chosen == "cpu":
        return _load(model, found, contents, chosen, Fit(weight_formats()), progress, make_room)
    try:
        check_device(chosen)
        card, free = pick_card(chosen)
        room = fit(_config(found), weight_formats(chosen, card), free)
        return _load(model, found, contents, chosen, room, progress, make_room)
    except Exception as error:
        raise device_problem(chosen, error) from error


def chosen_device(device: str, found: Found) -> str:
    """ "cpu", "cuda" or "mps": what a setting of `greenCode.device` means for a model."""
    return choose_device(device, read_measured(found.key), lambda: _config(found))


def _config(found: Found) -> ModelConfig:
    if found.name in ROWS:
        return ROWS[found.name].shape.config()
    return found.open().config if found.name == TINY else config_apart(found)


def _load(
    model: str, found: Found, contents: BundleContents, device: str, room: Fit, progress: Progress, make_room: MakeRoom
) -> Runtime:
    opened = open_model(
        found,
        contents.bundle,
        room.formats,
        lambda sentence, part: progress("loading", sentence, part),
        convert if model == TINY else convert_apart,  # it has no reader whose memory would stay
        make_room,
    )
    opened.decoder.serve()
    contents.check_fit(opened.decoder.config, opened.vocabulary)
    exits = contents.bundle.exits if contents.bundle is not None else ()
    costs = CostMeasurement(opened.decoder, exits, _window_seconds(model)).kept() or assumed_costs(opened.decoder)
    runtime = Runtime(model, opened, contents, costs, device, found.key, room.positions, room.notice)
    give_back_memory()
    return runtime


def load_measured(model: str, progress: Progress = lambda *_: None, device: str = "cpu") -> Runtime:
    """`load_runtime`, and measure the costs now if they are not: for figures in joules. See `measured_costs`.

    Raises:
        Problem: also where the meter gives no readings.
    """
    runtime = load_runtime(model, progress, device)
    if runtime.costs.assumed:
        runtime.costs = measured_costs(runtime.decoder, runtime.exits, _window_seconds(model), progress)
    return runtime


def _window_seconds(model: str) -> float:
    return 0.2 if model == TINY else SHORT_WINDOW_SECONDS


class Runtime:
    """A loaded model. Its sessions share the weights; only one of them computes at a time."""

    def __init__(
        self,
        model: str,
        opened: Model,
        contents: BundleContents,
        costs: CostModel,
        device: str = "cpu",
        key: str = "",
        positions: int | None = None,
        notice: str = "",
    ) -> None:
        bundle = contents.bundle
        most = opened.decoder.config.max_positions
        self.positions, self.notice = min(most, positions or most), notice
        self.model, self.device, self._key = model, device, key
        self.bundle = bundle.name if bundle else ""
        self.weights = bundle.digest if bundle else opened.key
        self.calibration: Mapping[str, Any] = bundle.calibration if bundle else {}
        self.exits = bundle.exits if bundle else ()
        self.prefill_exit = bundle.prefill_exit if bundle else None
        self.layers_total = opened.decoder.config.layers
        self.decoder, self.vocabulary = opened.decoder, opened.vocabulary
        self.card = opened.decoder.gpu or ""
        classifier = contents.classifier
        self.agent = agent_for(classifier, self.decoder) if classifier else None
        self.ngrams, self.costs = contents.ngrams, costs
        self.stop_network, self.value_heads = contents.stop_network, contents.value_heads
        self.chooser = Chooser(opened.vocabulary)
        row = ROWS.get(model)
        self.layout = layout_of(model, opened.vocabulary.fim, row.prompt if row is not None else None)
        self._measurement: CostMeasurement | None = None
        self._has_meter = not costs.assumed or pick_meter(self.decoder.gpu).source != UNKNOWN

    def new_session(self) -> Session:
        return Session(self)

    def close(self) -> None:
        """Free the model, whoever still holds this runtime; its sessions must be gone."""
        self.decoder.close()
        del self.decoder, self.vocabulary, self.agent, self.ngrams, self.chooser
        self._measurement = None
        give_back_memory()

    @property
    def energy_source(self) -> str:
        """Of the costs that count now."""
        return self.costs.source

    @property
    def costs_assumed(self) -> bool:
        """See `interfaces.Runtime`."""
        return self.costs.assumed and self._has_meter

    @property
    def idle_watts(self) -> float:
        """See `interfaces.Runtime`."""
        return self.costs.idle_watts

    @property
    def reads_snippets(self) -> bool:
        """See `interfaces.Runtime`."""
        return self.layout.reads_snippets

    def measure_costs(self, interrupted: Callable[[], bool]) -> None:
        """See `interfaces.Runtime`."""
        if self._measurement is None:
            self._measurement = CostMeasurement(self.decoder, self.exits, _window_seconds(self.model))
        if self._measurement.step(interrupted) >= 1:
            self.costs, self._measurement = self._measurement.costs(), None
            joules = self.costs.prices.of(token_work(self.layers_total))
            keep_measured(self._key, self.device, joules, token_seconds(self.decoder))

    def policy(self, params: CompletionParams) -> Policy:
        """The exit policy of a request; full depth where there is no agent."""
        by_agent = params["policy"] == "agent"
        if params["decoding"] == "full" or (by_agent and self.agent is None):
            return Full()
        threshold = 1.0
        if by_agent and params["decoding"] == "fast":
            threshold = self.threshold(params["threshold"])
            if threshold >= 1:
                return Full()  # no probability is greater
        policy = parse_policy(params["policy"], self.exits, self.layers_total, self.agent, threshold)
        if params["decoding"] == "exact" and isinstance(policy, Agent):
            # Verification keeps the quality here; the price book decides whether an exit's draft pays.
            return replace(policy, threshold=LIKELIEST)
        return policy

    def stop(self, params: CompletionParams) -> StopPolicy | None:
        """The stop policy of a request; None: it never stops. A preset's bounds are those of the bundle's calibration.

        The bundle's stop agent decides where it has one. Its value heads refuse where a preset has bounds for them, and the front gives
        the place.
        """
        stop, bounds = params["stop"], dict[str, float]()
        if isinstance(stop, str):
            preset = self.calibration.get("suggestions", {}).get("presets", {}).get(stop, {})
            stop, bounds = float(preset.get("stop", STOPS[stop])), preset.get("refusal", {})
        if stop == 0:
            return None
        refusal, heads = None, self.value_heads
        if heads is not None and bounds and len(params["place"]) == heads.place_features:
            by_depth = {depth: float(bounds[str(depth)]) for depth in heads.depths if str(depth) in bounds}
            refusal = Refusal(heads, by_depth, params["place"])
        if self.stop_network is None:
            return RunningProduct(stop, refusal)
        return StopAgent(self.stop_network, stop, params["prefix"].rpartition("\n")[2], refusal)

    def threshold(self, threshold: float | str) -> float:
        """A number, or the number of a preset in the bundle's calibration.

        Raises:
            Problem: the preset is not calibrated.
        """
        if not isinstance(threshold, str):
            return threshold
        presets = self.calibration.get("presets", {})
        if threshold not in presets:
            raise Problem(
                "bad_request",
                f"threshold {threshold!r} is not calibrated for {self.model}; use a number from 0.5 to 1 or one of: {', '.join(presets) or 'none'}.",
            )
        return float(presets[threshold]["threshold"])
