"""A secret that lies in a file of its owner: the way in which settings take one, besides the environment."""

from pathlib import Path

from ultraread.errors import ConfigInsecure

OTHERS = 0o077
"""Permission bits of group and others."""


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
