"""`tiny-random` without a bundle, in a cache of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from green_code.engine.loading import Runtime, load_measured
from green_code.models.catalog import TINY


@pytest.fixture(scope="package", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GREEN_CODE_BUNDLES", str(tmp_path_factory.mktemp("bundles")))
        yield


@pytest.fixture(scope="package")
def runtime(own_folders: None) -> Runtime:
    return load_measured(TINY)
