"""Downloads from the hub: resumed, checked against the hub's hashes, refused with one sentence; nothing half is left."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from green_code.models import store
from green_code.models.hub import Hub
from green_code.models.places import File
from green_code.models.rows import ROWS, Row
from green_code.problems import Problem
from tests.models.fake_hub import REVISION, FakeHub, point_to, serve

WEIGHTS = random.Random(0).randbytes(300_000)
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b'{"model": {}}',
    "model.safetensors": WEIGHTS,
    "README.md": b"not wanted",
    "original/consolidated.safetensors": b"not wanted",
}
WANTED = {"config.json", "tokenizer.json", "model.safetensors"}


def row(revision: str = REVISION, **changed: object) -> Row:
    return Row("small", "Small", "MIT", 1000, ROWS["smollm2-135m"].shape, (Hub("org/model", revision),), **changed)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serve(FakeHub(dict(FILES)), monkeypatch) as served:
        yield served


def quiet(*_: object) -> None:
    pass


def cache(*, without: str = "") -> Path:
    """Have another program download the repository into the user's cache; returns its folder there."""
    for name in WANTED - {without}:
        path = Path(huggingface_hub.hf_hub_download("org/model", name, revision=REVISION))
    return path.parent


def left() -> list[Path]:
    """What is in the folder of the row, or was left beside it."""
    return [path for path in store.models_dir().glob("*") if path.suffix != ".lock"]


def test_a_repository_is_downloaded_whole_and_checked(hub: FakeHub) -> None:
    seen: list[tuple[str, int, int]] = []
    folder = store.get(row(), lambda *what: seen.append(what))
    assert {path.name for path in folder.iterdir()} == WANTED | {store.RECEIPT}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    receipt = json.loads((folder / store.RECEIPT).read_text())
    assert receipt["files"]["model.safetensors"]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    total = sum(len(FILES[name]) for name in WANTED)
    assert max(done for _, done, _ in seen) == total and seen[-1][2] == total
    assert store.state_of(row()) == "downloaded"
    asked = len(hub.requests)
    assert store.get(row(), quiet) == folder and len(hub.requests) == asked, "what is here is not asked for again"


def test_one_gguf_file_of_a_repository(hub: FakeHub) -> None:
    hub.files["small.gguf"] = WEIGHTS
    one = row(file=File("small.gguf", len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest()))
    folder = store.get(one, quiet)
    assert {path.name for path in folder.iterdir()} == {"small.gguf", store.RECEIPT}


def test_a_download_that_is_cut_goes_on_where_it_ended(hub: FakeHub) -> None:
    hub.cut_after = 100_000
    with pytest.raises(Problem, match="goes on"):
        store.get(row(), quiet)
    assert store.state_of(row()) == "partial"
    hub.cut_after = None
    hub.requests.clear()
    folder = store.get(row(), quiet)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [wanted for method, path, wanted in hub.requests if method == "GET" and "safetensors" in path and wanted]
    assert ranges and all(int(wanted.removeprefix("bytes=").rstrip("-")) > 0 for wanted in ranges)


def test_a_part_that_is_whole_is_checked_and_not_asked_for_again(hub: FakeHub) -> None:
    """A process was killed between the download and its check; there is nothing behind the last byte to ask for."""
    store.folder_of(row()).mkdir(parents=True)
    (store.folder_of(row()) / "model.safetensors.part").write_bytes(WEIGHTS)
    assert (store.get(row(), quiet) / "model.safetensors").read_bytes() == WEIGHTS
    assert not [path for method, path, _ in hub.requests if method == "GET" and path.endswith(".safetensors")]


def test_a_download_that_is_cancelled_stays_in_part(hub: FakeHub) -> None:
    def cancel(sentence: str, done: int, _: int) -> None:
        if "model.safetensors" in sentence:
            raise Problem("cancelled", "cancelled")

    with pytest.raises(Problem) as caught:
        store.get(row(), cancel)
    assert caught.value.reason == "cancelled"
    assert store.state_of(row()) == "partial" and store.read_receipt(row()) is None
    assert store.get(row(), quiet)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_other_bytes_than_the_hub_describes_are_refused(hub: FakeHub, name: str) -> None:
    hub.served[name] = bytes(len(FILES[name]))
    with pytest.raises(Problem, match=f"{name} .* another hash than the hub states"):
        store.get(row(), quiet)
    assert not any((store.folder_of(row()) / n).exists() for n in (name, store.RECEIPT))
    hub.served.clear()
    assert store.get(row(), quiet), "the next attempt succeeds"


def test_another_file_than_the_catalogs_is_refused_and_removed(hub: FakeHub) -> None:
    pinned = row(sha256={"model.safetensors": "0" * 64})
    with pytest.raises(Problem, match="does not have the published SHA-256") as caught:
        store.get(pinned, quiet)
    assert caught.value.reason == "model_damaged" and not left()


@pytest.mark.parametrize("token", [None, "hf_other"])
def test_a_gated_repository_says_where_its_licence_is(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    hub.gated, hub.token = True, "hf_right"
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(Problem, match=r"accept its licence.*HF_TOKEN"):
        store.get(row(), quiet)
    assert not left()
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert store.get(row(), quiet)


def test_an_unknown_revision_and_an_unknown_repository(hub: FakeHub) -> None:
    with pytest.raises(Problem, match="has no revision ffff"):
        store.get(row("f" * 40), quiet)
    elsewhere = Row("small", "Small", "MIT", 1000, ROWS["smollm2-135m"].shape, (Hub("org/other", REVISION),))
    with pytest.raises(Problem, match="does not exist or is private"):
        store.get(elsewhere, quiet)
    assert not left()


def test_without_network_there_is_one_sentence_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("http://127.0.0.1:9", monkeypatch)  # nobody listens there
    with pytest.raises(Problem, match="check the network") as caught:
        store.get(row(), quiet)
    assert caught.value.reason == "model_missing" and not left()


def test_the_users_cache_serves_without_network(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    cache()
    point_to("http://127.0.0.1:9", monkeypatch)
    folder = store.get(row(), quiet)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not any(path.is_symlink() for path in folder.iterdir())


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_half_a_repository_in_the_users_cache_is_none(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": "model.safetensors"}}).encode()
    cache(without=missing)
    huggingface_hub.hf_hub_download("org/model", "model.safetensors.index.json", revision=REVISION)
    point_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(Problem, match="check the network"):
        store.get(row(), quiet)
    assert not left()


def test_a_damaged_file_in_the_users_cache_is_refused(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache() / "model.safetensors").resolve().write_bytes(bytes(len(WEIGHTS)))
    point_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(Problem, match="another hash"):
        store.get(row(), quiet)


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(Problem, match=r"green-code\[hub\]"):
        store.get(row(), quiet)
