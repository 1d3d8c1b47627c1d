"""Fixtures of several tests: a service, and the tiny model on both decoders."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from green_code.engine.loading import Runtime
from tests.engine.service_rig import Rig
from tests.engine.sessions import tiny_runtime, with_exits


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A session is the same code on both decoders, and torch takes ten times as long: the first seed is enough in `make test`."""
    for item in items:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        on_torch = params.get("either_runtime") == "torch"
        if on_torch and (params.get("seed", 0) > 0 or item.get_closest_marker("slow_on_torch")):
            item.add_marker(pytest.mark.slow)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    await rig.server.start(rig.address)
    yield rig
    rig.open_gates()
    for client in rig.clients:
        await client.close()
    rig.service.close()
    await rig.server.stop()
    rig.ledger.close()


@pytest.fixture(scope="module", params=["kernel", "torch"])
def either_runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    environment = {"GREEN_CODE_KERNEL": "off"} if request.param == "torch" else {}
    with tiny_runtime(tmp_path_factory.mktemp(request.param), **environment) as runtime:
        yield with_exits(runtime, prefill_exit=4)
