"""Where things live on this machine: the one module that knows the environment variables and the defaults.

Variables: GREEN_CODE_RUNTIME_DIR (socket, lock, log), GREEN_CODE_CACHE_DIR (converted weights),
GREEN_CODE_DATA_DIR (energy ledger), GREEN_CODE_BUNDLES (agent_models).
Must not know: what is stored in the folders.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

import platformdirs

from green_code.problems import Problem

APPLICATION = "green-code"
RUNTIME_VARIABLE = "GREEN_CODE_RUNTIME_DIR"
CACHE_VARIABLE = "GREEN_CODE_CACHE_DIR"
DATA_VARIABLE = "GREEN_CODE_DATA_DIR"
BUNDLES_VARIABLE = "GREEN_CODE_BUNDLES"


def user_key() -> str:
    """What tells users of one machine apart: the uid, or a digest of the name where there are no uids."""
    if sys.platform != "win32":
        return str(os.getuid())
    return hashlib.sha256(getpass.getuser().encode()).hexdigest()[:12]


def runtime_dir() -> Path:
    """Folder of the socket, the lock and the log: made if missing, ours, and closed to everyone else.

    Raises:
        Problem: the folder cannot be made, is a link, or belongs to someone else.
    """
    folder = _runtime_path()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = folder.lstat()
    except OSError as error:
        raise Problem(
            "cache_unwritable",
            f"The runtime folder {folder} cannot be made ({error}). Set {RUNTIME_VARIABLE} to a "
            "folder of yours.",
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
        usual = Path(platformdirs.user_runtime_dir(APPLICATION))
    except OSError:  # it finds no folder that is safe from others; ours is checked
        return _own_runtime_path()
    if os.access(usual.parent, os.W_OK) and usual.parent != Path(tempfile.gettempdir()):
        return usual
    return _own_runtime_path()


def _own_runtime_path() -> Path:
    return Path(tempfile.gettempdir()) / f"{APPLICATION}-{user_key()}"


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
    """Folder of bundles: the checkout's agent_models where there is one, else beside the user's data."""
    if chosen := os.environ.get(BUNDLES_VARIABLE):
        return Path(chosen).absolute()
    checkout = Path(__file__).resolve().parents[2] / "agent_models"
    return checkout if checkout.is_dir() else data_dir() / "agent_models"
