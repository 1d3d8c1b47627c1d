"""No other user of the machine reads or changes what is the user's."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import green_code
from green_code import folders
from green_code.models.catalog import TINY

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")
_SOURCES = str(Path(green_code.__file__).resolve().parents[1])

_OTHER_USER = """
import json, os, socket, sys
from pathlib import Path

base = Path(sys.argv[1])
[log], [lock], [sock] = (list((base / "runtime_dir").glob(name)) for name in ("*[0-9a-f].log", "*[0-9a-f].lock", "*.sock"))
[weights] = (path for path in (base / "cache_dir").iterdir() if path.is_dir() and path.name.startswith("tiny"))
ledger = base / "data_dir" / "energy.sqlite3"
os.setgroups([]); os.setgid(65534); os.setuid(65534)
attempts = {
    "list data": lambda: os.listdir(base / "data_dir"),
    "read ledger": ledger.read_bytes,
    "write ledger": lambda: ledger.open("ab").close(),
    "create in data": lambda: (base / "data_dir" / "gate-0.json").write_text("{}"),
    "list cache": lambda: os.listdir(base / "cache_dir"),
    "read description": (weights / "model.json").read_bytes,
    "read weights": (weights / "rest.safetensors").read_bytes,
    "write weights": lambda: (weights / "rest.safetensors").open("ab").close(),
    "create in cache": lambda: (base / "cache_dir" / "other").mkdir(),
    "list runtime": lambda: os.listdir(base / "runtime_dir"),
    "read log": log.read_bytes,
    "write lock": lambda: lock.open("ab").close(),
    "connect": lambda: socket.socket(socket.AF_UNIX).connect(str(sock)),
    "remove ledger": ledger.unlink,
}
succeeded = []
for name, attempt in attempts.items():
    try:
        attempt()
        succeeded.append(name)
    except OSError:
        pass
print(json.dumps([len(attempts), succeeded]))
"""


@pytest.fixture(scope="module")
def used() -> Iterator[Path]:
    """Folders in which an engine has completed, begun with a umask that hides nothing."""
    base = Path(tempfile.mkdtemp(prefix="gc"))  # pytest's own folders are closed to others
    base.chmod(0o755)
    names = {
        f"GREEN_CODE_{name}": str(base / name.lower()) for name in ("RUNTIME_DIR", "DATA_DIR", "CACHE_DIR", "BUNDLES")
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**names, "PYTHONPATH": _SOURCES}.items():
            patch.setenv(name, value)
        _green_code("complete", "-", "--model", TINY, "--max-tokens", "2", given="def add(a, b):\n    return")
        yield base
        _green_code("engine", "--stop")
    shutil.rmtree(base)


def _green_code(*arguments: str, given: str = "") -> str:
    script = "import os, sys; os.umask(0); from green_code.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], input=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _open_to_others(base: Path) -> set[str]:
    return {str(path) for path in base.glob("*_dir/**/*") if stat.S_IMODE(path.lstat().st_mode) & 0o077}


def test_whatever_was_written_was_private_from_the_beginning(used: Path) -> None:
    written = {path.name for path in used.glob("*_dir/**/*")}
    assert {"energy.sqlite3", "model.json", "tokenizer.json"} <= written
    assert not _open_to_others(used)
    assert all(stat.S_IMODE((used / name).stat().st_mode) == 0o700 for name in ("data_dir", "cache_dir", "runtime_dir"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_another_user_can_do_nothing(used: Path) -> None:
    def attempts(base: Path) -> list[object]:
        done = subprocess.run(
            [sys.executable, "-c", _OTHER_USER, str(base)], capture_output=True, text=True, check=True
        )
        return list(json.loads(done.stdout))

    assert attempts(used) == [14, []]
    with tempfile.TemporaryDirectory(prefix="gc") as name:  # the same where modes let others in: the attempts are real
        shutil.copytree(used, Path(name) / "open", ignore=shutil.ignore_patterns("*.sock"))
        for path in (Path(name), *Path(name).rglob("*")):
            path.chmod(0o777)
        [sock] = (used / "runtime_dir").glob("*.sock")
        (Path(name) / "open" / "runtime_dir" / sock.name).touch()
        _, succeeded = attempts(Path(name) / "open")
        assert len(succeeded) == 13, succeeded  # all but a connection, as nobody listens


def test_what_is_open_to_others_is_corrected_and_nothing_else(used: Path, tmp_path: Path) -> None:
    foreign, linked, elsewhere = used / "data_dir" / "photo.jpg", used / "cache_dir" / "models", tmp_path / "elsewhere"
    foreign.touch()
    elsewhere.touch()
    linked.mkdir(exist_ok=True)
    os.link(elsewhere, linked / "of_another_tool.gguf") if elsewhere.stat().st_dev == linked.stat().st_dev else None
    (linked / "link").symlink_to(elsewhere)
    spared = {foreign, elsewhere, *linked.glob("of_another*"), linked / "link"}
    for path in (*used.glob("*_dir"), *used.glob("*_dir/**/*"), elsewhere):
        path.chmod(0o777) if path.suffix != ".sock" else None
    _green_code("energy")
    assert _open_to_others(used) == {str(path) for path in spared if path != elsewhere}
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o777
    assert not stat.S_IMODE((used / "data_dir").stat().st_mode) & 0o077


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNTIME_DIR", "DATA_DIR", "CACHE_DIR"):
        monkeypatch.setenv(f"GREEN_CODE_{name}", str(tmp_path / name))
    before = os.umask(0o022)
    try:
        folders.keep_private()
    finally:
        os.umask(before)
    assert not list(tmp_path.iterdir())
