"""The folder that results are written into, `--out`: asked whether it takes them before there are any."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from ultraread.errors import Unavailable
from ultraread.serving.storage.durable import full_storage_coded


def refuse_unwritable(folder: Path) -> None:
    """Raise Unavailable or StorageFull unless results can be written there; nothing stays of the try."""
    try:
        with (
            full_storage_coded("the results"),
            TemporaryDirectory(dir=_nearest(folder), prefix=".ultraread-"),
        ):
            return
    except OSError as failure:
        told = f"--out {folder} cannot be written to ({failure.strerror})"
        raise Unavailable(told, "Choose another --out.") from failure


def _nearest(folder: Path) -> Path:
    """The folder, or what it would be made in. Raises OSError for what can be no folder's name."""
    return next(place for place in (folder, *folder.absolute().parents) if _is_there(place))


def _is_there(place: Path) -> bool:
    try:
        os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
