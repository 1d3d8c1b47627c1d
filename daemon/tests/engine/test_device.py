"""Which device is chosen, and what happens when one fails: a stand-in loader whose GPU can be broken."""

from __future__ import annotations

import asyncio
import importlib.abc
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch

from green_code.engine import devices
from green_code.engine.back_off import FIRST_BACK_OFF_SECONDS
from green_code.engine.device_losses import RESTART_SECONDS
from green_code.engine.device_room import fit
from green_code.engine.devices import SLOW_SECONDS, assumed_seconds, choose_device, keep_measured, read_measured
from green_code.engine.interfaces import DeviceProblem
from green_code.engine.loading import load_runtime
from green_code.gpu import reserve
from green_code.kernels.weight_format import KernelFormat
from green_code.link import messages
from green_code.link.client import open_client
from green_code.models import device
from green_code.models.adapters import Adapters
from green_code.models.config import ModelConfig
from green_code.models.tiny import TinySource
from tests.engine.fake_runtime import FakeLoader, FakeRuntime, FakeSession
from tests.engine.service_rig import Rig, complete, until

SMALL = TinySource().config
LARGE = replace(SMALL, layers=32, width=4096, mlp_width=14336, heads=32, kv_heads=8, head_width=128,
                windows=(None,) * 32, ropes=(SMALL.ropes[0],) * 32)  # fmt: skip


def unread() -> ModelConfig:
    raise AssertionError("nobody needs the configuration")


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(devices, "available_gpu", lambda: "cuda")


def test_without_torch_auto_is_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_device("auto", {}, unread) == "cpu"


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_what_is_asked_for_is_taken(device: str) -> None:
    assert choose_device(device, {"cpu": (1.0, 0.01)}, unread) == device


def test_without_a_measurement_only_a_slow_model_goes_to_the_gpu(with_gpu: None) -> None:
    assert assumed_seconds(SMALL) < SLOW_SECONDS < assumed_seconds(LARGE)
    assert choose_device("auto", {}, lambda: SMALL) == "cpu"
    assert choose_device("auto", {}, lambda: LARGE) == "cuda"


def test_without_a_gpu_a_slow_model_stays(with_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available_gpu", lambda: None)
    assert choose_device("auto", {}, lambda: LARGE) == "cpu"


@pytest.mark.parametrize(
    ("cpu", "gpu", "chosen"),
    [
        ((0.05, 0.008), (0.8, 0.009), "cpu"),  # as a model of 270M parameters: as quick, at many times the joules
        ((2.0, 0.08), (1.0, 0.02), "cuda"),
        ((1.0, 0.4), (3.0, 0.03), "cuda"),  # the processor is too slow
        ((1.0, 0.4), (3.0, 0.5), "cpu"),  # both are: the quicker one
    ],
)
def test_measured_joules_decide_among_those_that_are_quick(
    with_gpu: None, cpu: tuple[float, float], gpu: tuple[float, float], chosen: str
) -> None:
    assert choose_device("auto", {"cpu": cpu, "cuda": gpu}, unread) == chosen


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "new"))
    assert read_measured("m") == {}
    keep_measured("m", "cpu", 0.5, 0.01)
    keep_measured("m", "cuda", 2.0, 0.02)
    assert read_measured("m") == {"cpu": (0.5, 0.01), "cuda": (2.0, 0.02)} and read_measured("other") == {}
    (path,) = (tmp_path / "new").glob("devices-*.json")
    for damage in ("", "[1]", '{"cpu": 3}'):
        path.write_text(damage)
        assert read_measured("m") == {}


def test_a_device_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path))
    with pytest.raises(DeviceProblem, match=r"mps cannot be used .*no such device"):
        load_runtime("tiny-random", device="mps")


def test_a_torch_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is installed, but its libraries are not."""

    class Broken(importlib.abc.Loader):
        def exec_module(self, module: Any) -> None:
            raise OSError("libcudart.so: cannot open shared object file")

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
            return importlib.util.spec_from_loader(name, Broken()) if name == "torch" else None

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.delitem(sys.modules, "green_code.models.device")
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    problem = devices.device_problem("cuda", OSError("libcudart.so: cannot open shared object file"))
    assert "libcudart.so" in str(problem)


class LostSession(FakeSession):
    def complete(self, params: Any, cancelled: Callable[[], str | None]) -> Any:
        raise RuntimeError("context lost")


class GpuLoader(FakeLoader):
    """`broken`: loading fails; `lost`: completions do."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = self.lost = False
        self.devices: list[str] = []

    def __call__(
        self, model: str, progress: Callable[..., None], device: str, make_room: Callable[[int], None]
    ) -> FakeRuntime:
        self.devices.append(device)
        if device == "cuda" and self.broken:
            raise DeviceProblem("cuda", "MemoryError: out of memory")
        runtime = super().__call__(model, progress, device, make_room)
        runtime.device = device
        if device == "cuda" and self.lost:
            runtime.new_session = lambda: LostSession(runtime)  # type: ignore[method-assign]
        return runtime


@pytest_asyncio.fixture
async def gpu_rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr("tests.engine.service_rig.FakeLoader", GpuLoader)
    rig = Rig(tmp_path)
    rig.open_gates()
    await rig.server.start(rig.address)
    yield rig
    for client in rig.clients:
        await client.close()
    rig.service.close()
    await rig.server.stop()
    rig.ledger.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", ["broken", "lost"])
async def test_where_a_device_fails_the_processor_serves_until_the_back_off_has_passed(
    gpu_rig: Rig, failure: str
) -> None:
    loader: Any = gpu_rig.loader
    setattr(loader, failure, True)
    client = await gpu_rig.client()
    answer = await asyncio.wait_for(complete(client, device="cuda"), 10)
    assert answer["text"] and loader.devices == ["cuda", "cpu"]
    status = await client.request(messages.STATUS, {})
    assert status["device"] == "cpu" and status["state"] in ("ready", "busy")
    assert "cuda cannot be used" in status["message"]
    await complete(client, device="cuda")
    assert loader.devices == ["cuda", "cpu"], "not before the back-off has passed"
    setattr(loader, failure, False)
    gpu_rig.now += FIRST_BACK_OFF_SECONDS + 1
    await complete(client, device="cuda")
    await until(lambda: gpu_rig.service.notifications.status()["device"] == "cuda")
    assert loader.devices == ["cuda", "cpu", "cuda"]
    await complete(client, device="cuda")
    assert "cannot" not in gpu_rig.service.notifications.status()["message"]


@pytest.mark.asyncio
async def test_a_device_that_fails_again_is_left_alone_for_longer(gpu_rig: Rig) -> None:
    loader: Any = gpu_rig.loader
    loader.broken = True
    client = await gpu_rig.client()
    await complete(client, device="cuda")
    gpu_rig.now += FIRST_BACK_OFF_SECONDS + 0.1
    await complete(client, device="cuda")
    await until(lambda: loader.devices == ["cuda", "cpu", "cuda"])
    await asyncio.sleep(0.05)
    gpu_rig.now += FIRST_BACK_OFF_SECONDS + 0.1
    await complete(client, device="cuda")
    assert len(loader.devices) == 3 and gpu_rig.service.notifications.status()["device"] == "cpu"
    gpu_rig.now += FIRST_BACK_OFF_SECONDS
    await complete(client, device="cuda")
    await until(lambda: len(loader.devices) == 4)


@pytest.mark.asyncio
@pytest.mark.parametrize("waited", [0.0, FIRST_BACK_OFF_SECONDS + 0.1])
async def test_a_changed_bundle_is_served_while_a_device_fails(gpu_rig: Rig, waited: float) -> None:
    loader: Any = gpu_rig.loader
    loader.broken = True
    client = await gpu_rig.client()
    await complete(client, device="cuda")
    old = loader.runtimes[-1]
    gpu_rig.now += waited
    gpu_rig.service.bundles_changed({"fake"})
    await until(old.closed.is_set)
    assert loader.devices == ["cuda", "cpu", *(["cuda"] if waited else []), "cpu"]
    assert (await complete(client, device="cuda"))["text"]
    assert "cuda cannot be used" in gpu_rig.service.notifications.status()["message"]


@pytest.mark.asyncio
async def test_a_device_that_loads_but_fails_again_is_left_alone_for_longer(gpu_rig: Rig) -> None:
    loader: Any = gpu_rig.loader
    loader.lost = True
    client = await gpu_rig.client()
    await complete(client, device="cuda")
    gpu_rig.now += FIRST_BACK_OFF_SECONDS + 0.1
    await complete(client, device="cuda")
    await until(lambda: gpu_rig.service.notifications.status()["device"] == "cuda")
    await complete(client, device="cuda")
    assert loader.devices == ["cuda", "cpu"] * 2
    gpu_rig.now += FIRST_BACK_OFF_SECONDS + 0.1
    await complete(client, device="cuda")
    assert loader.devices == ["cuda", "cpu"] * 2


@pytest.mark.asyncio
async def test_a_device_is_tried_again_once_however_many_requests_there_are(gpu_rig: Rig) -> None:
    loader: Any = gpu_rig.loader
    loader.broken = True
    client = await gpu_rig.client()
    await complete(client, device="cuda")
    loader.broken = False
    gpu_rig.now += FIRST_BACK_OFF_SECONDS + 0.1
    loader.loaded.clear()
    for _ in range(3):
        await complete(client, device="cuda")
    loader.loaded.set()
    await until(lambda: gpu_rig.service.notifications.status()["device"] == "cuda")
    await asyncio.sleep(0.05)
    assert loader.devices == ["cuda", "cpu", "cuda"]


@pytest.fixture
def losing_loader(gpu_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of a GPU that is lost at its first kernel."""
    loader: Any = gpu_rig.loader
    loader.lost = True
    monkeypatch.setattr(device, "is_lost", lambda name: name == "cuda")
    return loader


@pytest.mark.asyncio
async def test_an_engine_that_has_lost_its_device_answers_and_ends_when_nobody_types(
    gpu_rig: Rig, losing_loader: Any
) -> None:
    client = await gpu_rig.client()
    answer = await asyncio.wait_for(complete(client, device="cuda"), 10)
    assert answer["text"] and losing_loader.devices == ["cuda", "cpu"]
    gpu_rig.service.idle_tick()
    assert not gpu_rig.stopped.is_set(), "somebody types"
    await until(lambda: not gpu_rig.service._work)
    gpu_rig.now += RESTART_SECONDS + 1
    gpu_rig.service.idle_tick()
    assert gpu_rig.stopped.is_set()


@pytest.mark.asyncio
async def test_a_device_that_each_engine_loses_is_left_alone_for_longer_and_the_status_says_so(
    gpu_rig: Rig, losing_loader: Any
) -> None:
    (gpu_rig.folder / "losses").write_text("4")  # of engines before this one
    client = await gpu_rig.client()
    assert (await asyncio.wait_for(complete(client, device="cuda"), 10))["text"]
    message = (await client.request(messages.STATUS, {}))["message"]
    assert "failed 5 times in a row" in message and "set greenCode.device to cpu" in message
    await until(lambda: not gpu_rig.service._work)
    gpu_rig.now += 16 * RESTART_SECONDS - 1
    gpu_rig.service.idle_tick()
    assert not gpu_rig.stopped.is_set()
    assert (await complete(client, device="cuda"))["text"] and losing_loader.devices == ["cuda", "cpu"]
    await until(lambda: not gpu_rig.service._work)
    gpu_rig.now += RESTART_SECONDS
    gpu_rig.service.idle_tick()
    assert gpu_rig.stopped.is_set()


@pytest.mark.asyncio
async def test_a_full_memory_is_no_lost_device(gpu_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    loader: Any = gpu_rig.loader
    loader.lost = True
    monkeypatch.setattr(device, "is_lost", lambda name: False)
    client = await gpu_rig.client()
    await asyncio.wait_for(complete(client, device="cuda"), 10)
    await until(lambda: not gpu_rig.service._work)
    gpu_rig.now += RESTART_SECONDS + 1
    gpu_rig.service.idle_tick()
    assert not gpu_rig.stopped.is_set()


@pytest.mark.asyncio
async def test_where_a_card_is_full_other_documents_lose_their_caches_first(gpu_rig: Rig) -> None:
    class FullSession(FakeSession):
        def complete(self, params: Any, cancelled: Callable[[], str | None]) -> Any:
            if not gpu_rig.loader.runtimes[0].sessions[0].trimmed:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
            return super().complete(params, cancelled)

    client, loader = await gpu_rig.client(), gpu_rig.loader
    await complete(client, device="cuda")
    runtime = loader.runtimes[0]
    runtime.new_session = lambda: FullSession(runtime)  # type: ignore[method-assign]
    assert (await complete(client, session="b", device="cuda"))["text"]
    assert loader.devices == ["cuda"] and gpu_rig.service.notifications.status()["device"] == "cuda"  # type: ignore[attr-defined]


@pytest.mark.asyncio
async def test_a_window_says_how_much_of_a_card_stays_free(gpu_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "_gigabytes", 1.0)
    client = await open_client(gpu_rig.address, asks={"gpu_reserve": 3.5}, on_notification=lambda *_: None)
    gpu_rig.clients.append(client)
    assert reserve.reserve_bytes() == 3_500_000_000


@pytest.mark.asyncio
async def test_the_status_says_what_a_small_card_leaves_out(gpu_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.engine.fake_runtime.FakeRuntime.notice", "the card has little free memory")
    client = await gpu_rig.client()
    await complete(client, device="cuda")
    status = await client.request(messages.STATUS, {})
    assert status["state"] in ("ready", "busy") and "little free memory" in status["message"]


@pytest.mark.parametrize(
    ("cuda", "driver", "sentence"),
    [
        (None, None, "a build for processors alone"),
        (
            "13.0",
            RuntimeError("Found no NVIDIA driver on your system. Please check\nmore"),
            "Found no NVIDIA driver on your system",
        ),
        (
            "13.0",
            RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update"),
            "is too old",
        ),
        ("13.0", None, "the driver shows no card"),
    ],
)
def test_why_there_is_no_cuda_is_one_sentence(
    cuda: str | None, driver: Exception | None, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init() -> None:
        if driver is not None:
            raise driver

    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(DeviceProblem) as caught:
        load_runtime("tiny-random", device="cuda")
    text = str(caught.value)
    assert sentence in text and "\n" not in text and text.count(". ") == 0


def test_a_model_steps_down_to_what_the_card_has_room_for() -> None:
    formats = [KernelFormat(None, f"gpu-{bits}", "cuda", bits) for bits in (8, 4)]  # type: ignore[arg-type]
    eight, four = (kind.sizes(LARGE, Adapters()).disk for kind in formats)
    usual = fit(LARGE, formats, eight + 8_000_000_000)
    assert [kind.name for kind in usual.formats] == ["gpu-8", "gpu-4"] and usual.positions == 4096 and not usual.notice
    less = fit(LARGE, formats, four + 3_000_000_000)
    assert [kind.name for kind in less.formats] == ["gpu-4"] and less.positions == 4096 and "fewer bits" in less.notice
    least = fit(LARGE, formats, four + 1_100_000_000)
    assert least.positions == 1024 and "at most 512 tokens" in least.notice
    with pytest.raises(MemoryError, match=r"needs [\d.]+ GB, and 1\.0 GB"):
        fit(LARGE, formats, 1_000_000_000)
    assert fit(LARGE, formats, None).positions is None


@pytest.mark.asyncio
async def test_a_window_with_auto_and_one_with_cpu_share_the_model(gpu_rig: Rig) -> None:
    loader: Any = gpu_rig.loader
    client = await gpu_rig.client()
    await complete(client, device="cpu")
    await complete(client, session="b", device="cpu")
    assert loader.devices == ["cpu"]


@pytest.mark.asyncio
async def test_a_bug_of_the_request_is_no_failure_of_the_processor(gpu_rig: Rig) -> None:
    loader: Any = gpu_rig.loader
    client = await gpu_rig.client()
    with pytest.raises(Exception, match="a bug in the model"):
        await complete(client, "raise", device="cpu")
    assert loader.devices == ["cpu"]
