"""A secret that lies in a file of its owner: the way in which settings take one, besides the environment."""

import os
import secrets
from pathlib import Path

from ultraread.errors import ConfigInsecure
from ultraread.serving.storage.durable import fsync

OTHERS = 0o077
"""Permission bits of group and others."""
SECRET_BYTES = 32


def is_for_others(file: Path) -> bool:
    """Whether the file is there, and more people than its owner may do something with it."""
    return file.is_file() and bool(file.stat().st_mode & OTHERS)


def secret_in(file: Path, setting: str) -> str:
    """Return what the file holds. Raises ConfigInsecure where others may read it, or nobody can."""
    try:
        if file.stat().st_mode & OTHERS:
            raise ConfigInsecure(f"others may read the file of {setting}", "chmod 600 it.")
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as failure:
        told = failure.strerror if isinstance(failure, OSError) else "no text"
        raise ConfigInsecure(
            f"the file of {setting} cannot be read ({told})", "Check its path and rights."
        ) from failure


def made_secret(file: Path) -> Path:
    """Make a secret where there is none. Whole or not there: processes that start at once agree on one."""
    if not file.exists():
        new = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
        new.touch(mode=0o600)
        new.write_text(secrets.token_hex(SECRET_BYTES))
        fsync(new)
        try:
            os.link(new, file)
        except FileExistsError:
            pass
        finally:
            new.unlink()
        fsync(file.parent)
    return file
