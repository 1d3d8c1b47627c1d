"""The store: complete or not there; a full disk, another process, damage, and files of other tools."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import struct
import threading
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from green_code.models import other_tools, store
from green_code.models.catalog import find_model
from green_code.models.places import File, Report, check_disk
from green_code.models.rows import ROWS, Row
from green_code.models.shapes import weight_shapes
from green_code.problems import Problem


def gguf(architecture: str = "llama", before: bytes = b"", fields: int = 1) -> bytes:
    """The header of a GGUF file, in which `before` are fields in front of the architecture's."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    named = text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, fields) + before + named + bytes(500)


DATA = gguf()
FILE = File("small.gguf", len(DATA), hashlib.sha256(DATA).hexdigest())


@dataclass(frozen=True)
class Here:
    """A place that has `data`, and does `first` before it gives it."""

    data: bytes = DATA
    first: Callable[[Path, Report], None] = lambda folder, report: None
    asked: list[Path] = field(default_factory=list)
    key: str = "here"

    def describe(self) -> str:
        return "here"

    def fetch(self, file: File | None, folder: Path, report: Report) -> dict[str, str]:
        self.asked.append(folder)
        self.first(folder, report)
        (folder / FILE.name).write_bytes(self.data)
        return {FILE.name: hashlib.sha256(self.data).hexdigest()}


def row(*places: Here) -> Row:
    return Row("small", "Small", "MIT", 1000, ROWS["smollm2-135m"].shape, places, file=FILE)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No files of other tools but those that a test makes."""
    monkeypatch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for name in ("OLLAMA_MODELS", "LLAMA_CACHE", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def quiet(*_: object) -> None:
    pass


def left() -> list[Path]:
    return [path for path in store.models_dir().rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_the_next_place_is_asked_where_one_fails() -> None:
    def fail(*_: object) -> None:
        raise Problem("model_missing", "not reached.")

    assert store.get(row(Here(first=fail), Here(b"other"), Here()), quiet)
    with pytest.raises(Problem, match=r"^not reached\. .*published SHA-256") as caught:
        store.remove(row())
        store.get(row(Here(first=fail), Here(b"other")), quiet)
    assert caught.value.reason == "model_damaged" and not left()


def test_a_full_disk_is_said_and_leaves_nothing() -> None:
    def fill(folder: Path, _: Report) -> None:
        (folder / "small.gguf.part").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    unused = Here()
    with pytest.raises(Problem, match="the disk is full") as caught:
        store.get(row(Here(first=fill), unused), quiet)
    message = str(caught.value)
    assert caught.value.reason == "cache_unwritable" and "GREEN_CODE_CACHE_DIR" in message
    assert not left() and not unused.asked


def test_the_disk_is_looked_at_before_anything_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**10, 0, 10**9))
    check_disk(tmp_path / "later" / "deep", 10**9, "small")
    with pytest.raises(Problem, match=r"small needs 2\.0 GB .* 1\.0 GB free"):
        check_disk(tmp_path, 2 * 10**9, "small")


def test_two_that_get_the_same_model_download_it_once() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        entered.set()
        go_on.wait(20)

    first, second = Here(first=wait), Here()
    threads = [threading.Thread(target=store.get, args=(row(first), quiet))]
    threads[0].start()
    entered.wait(20)
    waiting = threading.Event()
    seen: list[str] = []

    def waits(sentence: str, *_: int) -> None:
        seen.append(sentence)
        waiting.set()

    threads.append(threading.Thread(target=store.get, args=(row(second), waits)))
    threads[1].start()
    waiting.wait(20)
    go_on.set()
    for thread in threads:
        thread.join()
    assert seen[0] == "another process is getting small"
    assert len(first.asked) == 1 and not second.asked


def test_damage_is_found_and_removed() -> None:
    small = row(Here())
    path = store.get(small, quiet) / FILE.name
    store.verify(small)
    for damage in (lambda: path.write_bytes(bytes(len(DATA))), path.unlink):
        damage()
        with pytest.raises(Problem, match=r"is not as it was published.*green-code models get small") as caught:
            store.verify(small)
        assert caught.value.reason == "model_damaged" and store.state_of(small) == "available"
        store.get(small, quiet)


@pytest.mark.parametrize("receipt", ["", "[]", "{}", '{"files": 1}'])
def test_a_damaged_receipt_is_none(receipt: str) -> None:
    small = row(Here())
    (store.get(small, quiet) / store.RECEIPT).write_text(receipt)
    assert store.state_of(small) == "partial"
    assert store.get(small, quiet) and store.state_of(small) == "downloaded"


def test_a_complete_checkpoint_needs_no_cache_that_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    small = row(Here())
    folder = store.get(small, quiet)
    monkeypatch.setattr(
        store.ProcessLock, "acquire", lambda *_: (_ for _ in ()).throw(OSError(errno.EROFS, "read-only"))
    )
    assert store.get(small, quiet) == folder
    with pytest.raises(Problem, match=r"cannot be written .read-only.*GREEN_CODE_CACHE_DIR"):
        store.remove(small)


def test_removing_frees_what_it_says() -> None:
    small = row(Here())
    store.get(small, quiet)
    assert store.remove(small) > len(DATA) and not left() and store.remove(small) == 0


# --- other tools ------------------------------------------------------------------------------------------
def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def ollama(home: Path, data: bytes, name: str = "small", digest: str | None = None) -> Path:
    """A model as Ollama keeps it; returns its blob."""
    digest = digest or f"sha256:{hashlib.sha256(data).hexdigest()}"
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:0", "size": 1},
        {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": len(data)},
    ]
    root = home / ".ollama/models"
    write(root / f"manifests/registry.ollama.ai/library/{name}/latest", json.dumps({"layers": layers}).encode())
    return write(root / "blobs" / digest.replace(":", "-"), data)


def test_files_of_other_tools_are_found_by_their_content(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = ollama(home, DATA)
    write(home / ".lmstudio/models/maker/repository/another.gguf", gguf("qwen2"))
    write(home / ".cache/llama.cpp/maker_third.gguf", gguf("starcoder2"))
    write(home / ".cache/llama.cpp/image.gguf", gguf("clip"))  # no language model
    write(home / ".cache/llama.cpp/broken.gguf", b"GGUF")
    files = other_tools.tool_files()
    assert [(f.tool, f.name) for f in files] == [
        ("LM Studio", "another"),
        ("Ollama", "small:latest"),
        ("llama.cpp", "maker_third"),
    ]
    (same,) = other_tools.same_content(row(), files)
    assert same.path == blob
    unused = Here()
    folder = store.get(row(unused), quiet, [same])
    assert (folder / FILE.name).read_bytes() == DATA and not unused.asked
    shutil.rmtree(home)
    assert (folder / FILE.name).read_bytes() == DATA, "it stays when the other tool removes its file"
    monkeypatch.setenv("OLLAMA_MODELS", str(home / "elsewhere"))
    assert other_tools.tool_files() == []


def test_a_file_of_another_tool_that_changed_meanwhile_is_refused(home: Path) -> None:
    ollama(home, DATA)
    (same,) = other_tools.same_content(row(), other_tools.tool_files())
    same.path.write_bytes(bytes(len(DATA)))
    used = Here()
    store.get(row(used), quiet, [same])
    assert used.asked, "the next place was asked"


def test_a_file_of_another_tool_that_is_gone_is_passed_over(home: Path) -> None:
    blob = ollama(home, DATA)
    files = other_tools.tool_files()
    same = other_tools.same_content(row(), files)
    blob.unlink()
    used = Here()
    store.get(row(used), quiet, same)
    assert used.asked and other_tools.same_content(row(), files) == []


def test_hashes_are_kept_by_time_and_size(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(home / ".lmstudio/models/a/b/small.gguf", DATA)
    read: list[Path] = []
    real = other_tools.sha256_of
    monkeypatch.setattr(other_tools, "sha256_of", lambda p: read.append(p) or real(p))
    for _ in range(2):
        assert other_tools.same_content(row(), other_tools.tool_files())
    assert len(read) == 1
    write(home / ".lmstudio/models/a/b/other size.gguf", DATA + b"x")
    path.write_bytes(DATA[:-1] + b"y")
    os.utime(path, ns=(1, 1))
    assert not other_tools.same_content(row(), other_tools.tool_files())
    assert len(read) == 2, "only files of the row's size are hashed"


def test_what_is_odd_in_other_tools_folders_is_passed_over(home: Path, tmp_path: Path) -> None:
    root = home / ".ollama/models"
    for number, manifest in enumerate(("", "[]", "{}", '{"layers": [1]}', '{"layers": [{"mediaType": 1}]}', "\0")):
        write(root / f"manifests/registry/library/odd{number}/latest", manifest.encode())
    folder = home / ".lmstudio/models"
    folder.mkdir(parents=True)
    (folder / "loop.gguf").symlink_to(folder / "loop.gguf")
    (folder / "gone.gguf").symlink_to(folder / "nothing")
    (folder / "folder.gguf").mkdir()
    (folder / "self").symlink_to(folder)
    linked = write(tmp_path / "disk/linked.gguf", DATA)
    (folder / "linked.gguf").symlink_to(linked)
    (folder / "again.gguf").symlink_to(linked)
    assert len(other_tools.tool_files()) == 1, "one file under two names is one"


@pytest.mark.parametrize(
    "data",
    [b"", b"GGUF", DATA[:20], DATA[:40], b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63),
     gguf(before=struct.pack("<Q", 1) + b"a" + struct.pack("<I", 9), fields=2), DATA.replace(b"GGUF", b"ELF ")],
)  # fmt: skip
def test_a_header_that_is_none_has_no_architecture(tmp_path: Path, data: bytes) -> None:
    assert other_tools.architecture_of(write(tmp_path / "a.gguf", data)) is None


def test_the_architecture_behind_other_fields(tmp_path: Path) -> None:
    before = (
        struct.pack("<Q", 1)
        + b"a"
        + struct.pack("<II", 4, 7)
        + struct.pack("<Q", 1)
        + b"b"
        + struct.pack("<IQ", 8, 1)
        + b"c"
    )
    assert other_tools.architecture_of(write(tmp_path / "a.gguf", gguf("qwen3", before, 3))) == "qwen3"


# --- finding ----------------------------------------------------------------------------------------------
def test_every_row_says_where_it_is_from_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "is_installed", lambda _: False)
    for name, one in ROWS.items():
        assert one.places and one.license and one.title and one.name == name
        assert all(len(sha) == 64 for sha in (*one.sha256.values(), *([one.file.sha256] if one.file else [])))
        with pytest.raises(Problem, match=f"is not on this computer; run: green-code models get {name}$"):
            find_model(name)
    assert len({one.key for one in ROWS.values()}) == len(ROWS)


def test_a_folder_with_a_link_to_nothing_is_a_model_and_a_change_of_it_another(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    key = find_model(str(tmp_path)).key
    (tmp_path / "config.json").rename(tmp_path / "other.json")
    assert find_model(str(tmp_path)).key != key


def test_a_gguf_file_is_a_model(tmp_path: Path) -> None:
    path = write(tmp_path / "small.gguf", DATA)
    first = find_model(str(path))
    path.write_bytes(DATA + b"more")
    assert find_model(str(path)).key != first.key
    with pytest.raises(Problem, match="neither a folder, nor a GGUF file"):
        find_model(str(tmp_path / "none.gguf"))


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: str(row.name))
def test_a_rows_shape_has_its_parameters(row: Row) -> None:
    """But for biases and the norms of heads, which shapes leave out, and a table of positions, which StarCoder2 lacks."""
    assert sum(map(math.prod, weight_shapes(row.shape.config()).values())) == pytest.approx(row.parameters, rel=0.002)
