"""The folders on this machine: their environment variables and defaults.

Variables: GREEN_CODE_RUNTIME_DIR (socket, lock, log, how often a device was lost), GREEN_CODE_CACHE_DIR (converted weights),
GREEN_CODE_DATA_DIR (energy ledger; what the gate learned, `gate-*.json`, and its `gate.lock`),
GREEN_CODE_BUNDLES (agent_models).
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import stat
import sys
import tempfile
import warnings
from pathlib import Path

import platformdirs

from green_code.problems import Problem

APPLICATION = "green-code"
RUNTIME_VARIABLE = "GREEN_CODE_RUNTIME_DIR"
CACHE_VARIABLE = "GREEN_CODE_CACHE_DIR"
DATA_VARIABLE = "GREEN_CODE_DATA_DIR"
BUNDLES_VARIABLE = "GREEN_CODE_BUNDLES"
_DATA_NAMES = ("energy.sqlite3*", "gate*", "agent_models")
_CACHE_NAMES = ("models", "costs-*", "devices-*", f"*-{'[0-9a-f]' * 16}*")  # the last are converted models


def user_key() -> str:
    """Identifies the user on this machine: the uid, or on Windows a digest of the name."""
    if sys.platform != "win32":
        return str(os.getuid())
    return hashlib.sha256(getpass.getuser().encode()).hexdigest()[:12]


def runtime_dir() -> Path:
    """Folder of the socket, the lock and the log: created if missing, owned by the user, and private.

    Raises:
        Problem: the folder cannot be created, is a link, or belongs to another user.
    """
    folder = _runtime_path()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = folder.lstat()
    except OSError as error:
        raise Problem(
            "cache_unwritable",
            f"The runtime folder {folder} cannot be created ({error}). Set {RUNTIME_VARIABLE} to a folder of yours.",
        ) from error
    if sys.platform != "win32":
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            raise Problem(
                "cache_unwritable",
                f"The runtime folder {folder} is a link or belongs to user {info.st_uid}, so it is not used. "
                f"Remove it, or set {RUNTIME_VARIABLE} to a folder of yours.",
            )
        if stat.S_IMODE(info.st_mode) & 0o077:
            folder.chmod(0o700)
    return folder


def _runtime_path() -> Path:
    if chosen := os.environ.get(RUNTIME_VARIABLE):
        return Path(chosen).absolute()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no XDG_RUNTIME_DIR, which is no fault of the user's
            usual = Path(platformdirs.user_runtime_dir(APPLICATION))
    except OSError:  # it finds no private folder; runtime_dir() checks ours
        return _own_runtime_path()
    if os.access(usual.parent, os.W_OK) and usual.parent != Path(tempfile.gettempdir()):
        return usual
    return _own_runtime_path()


def _own_runtime_path() -> Path:
    return Path(tempfile.gettempdir()) / f"{APPLICATION}-{user_key()}"


def keep_private() -> None:
    """What this process and its children write is the user's alone, and so is what earlier ones have written.

    In the folders, which the user may have chosen, only what is ours is corrected; no link is followed, and no file that has
    another name elsewhere.
    """
    if sys.platform == "win32":  # the user's profile is private there
        return
    os.umask(0o077)
    for folder, names in ((data_dir(), _DATA_NAMES), (cache_dir(), _CACHE_NAMES), (_runtime_path(), ("engine-*",))):
        if not folder.is_dir():
            continue
        _make_private(folder)
        for top in (path for name in names for path in folder.glob(name) if not path.is_symlink()):
            _make_private(top)
            for below, inner, files in os.walk(top):
                for one in (*inner, *files):
                    _make_private(Path(below, one))


def _make_private(path: Path) -> None:
    with contextlib.suppress(OSError):
        info = path.lstat()
        own = stat.S_ISDIR(info.st_mode) or (stat.S_ISREG(info.st_mode) and info.st_nlink == 1)
        if own and info.st_uid == os.getuid() and info.st_mode & 0o077:
            path.chmod(stat.S_IMODE(info.st_mode) & ~0o077)


def environment() -> dict[str, str]:
    """The variables that give another process these folders, whatever its current folder is."""
    return {
        RUNTIME_VARIABLE: str(runtime_dir()),
        CACHE_VARIABLE: str(cache_dir()),
        DATA_VARIABLE: str(data_dir()),
        BUNDLES_VARIABLE: str(bundles_dir()),
    }


def cache_dir() -> Path:
    """Folder of converted weights; may not exist yet."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir(APPLICATION)).absolute()


def data_dir() -> Path:
    """Folder of the energy ledger; may not exist yet."""
    return Path(os.environ.get(DATA_VARIABLE) or platformdirs.user_data_dir(APPLICATION)).absolute()


def ledger_path() -> Path:
    """File of the energy ledger; may not exist yet."""
    return data_dir() / "energy.sqlite3"


def bundles_dir() -> Path:
    """Folder of bundles: agent_models of the checkout if there is one, else of the user's data folder."""
    if chosen := os.environ.get(BUNDLES_VARIABLE):
        return Path(chosen).absolute()
    checkout = Path(__file__).resolve().parents[2] / "agent_models"
    return checkout if checkout.is_dir() else data_dir() / "agent_models"
