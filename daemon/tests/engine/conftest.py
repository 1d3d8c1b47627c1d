"""The fixture of the service's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.engine.service_rig import Rig


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
