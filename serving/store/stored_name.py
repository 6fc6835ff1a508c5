"""What a slide's file is called where it is kept: names may identify patients, and paths get logged."""

import re
from pathlib import Path

_PLAIN_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


def stored_name(index: int, name: str) -> str:
    """The file's place in its slide and a short suffix, e.g. `0.tif`."""
    suffix = Path(name).suffix.lower()
    return f"{index}{suffix}" if _PLAIN_SUFFIX.fullmatch(suffix) else f"{index}"
