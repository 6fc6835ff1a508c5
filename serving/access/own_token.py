"""Where a client's token is from: a file that is named, the environment, or the service of this machine."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from ultraread.errors import RequestInvalid

VARIABLE = "ULTRAREAD_TOKEN"
_DATA_DIR = "ULTRAREAD_DATA_DIR"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def token_for(base_url: str, file: Path | None = None) -> str | None:
    """The token that is sent to a service; None where nothing states one.

    A token of this machine's service is sent to no other machine. Raises RequestInvalid for a file that is
    not there.
    """
    if file is not None:
        return _read(file)
    if stated := os.environ.get(VARIABLE, "").strip():
        return stated
    if stated_file := os.environ.get(f"{VARIABLE}_FILE"):
        return _read(Path(stated_file))
    of_machine = _data_dir() / "owner.token"
    return _read(of_machine) if _is_here(base_url) and os.access(of_machine, os.R_OK) else None


def _data_dir() -> Path:
    return Path(os.environ.get(_DATA_DIR) or Path.home() / ".local/share/ultraread")


def _is_here(base_url: str) -> bool:
    try:
        return urlsplit(base_url).hostname in _LOOPBACK
    except ValueError:
        return False


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as failure:
        raise RequestInvalid("the file of the token cannot be read", "Check --token-file.") from failure
