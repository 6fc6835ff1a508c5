"""Public EM data sets, pinned by address and sha256: from a mirror where there is one, else downloaded once.

The files themselves are never part of UltraRead; `corpora.csv` lists where each is and its digest.
"""

import csv
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import CorpusUnreachable, IntegrityFailed

MIRROR_VARIABLE = "ULTRAREAD_DATA_MIRROR"


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """One pinned file: `path` is its name here, the rest says where it came from."""

    path: str
    repository: str
    commit: str
    repository_path: str
    sha256: str
    bytes: int
    licence: str

    @property
    def url(self) -> str:
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.repository_path}"


@cache
def pinned_files() -> dict[str, CorpusFile]:
    """Every pinned file by its path."""
    with (Path(__file__).parent / "corpora.csv").open(newline="") as rows:
        return {row["path"]: _corpus_file(row) for row in csv.DictReader(rows)}


def files_under(folder: str) -> list[str]:
    """The pinned paths below `folder`, sorted."""
    return sorted(path for path in pinned_files() if path.startswith(folder.rstrip("/") + "/"))


def fetch(path: str) -> Path:
    """Return the local file of a pinned path, its digest confirmed.

    Raises CorpusUnreachable where neither mirror nor download has it, IntegrityFailed where the bytes differ.
    """
    pinned = pinned_files()[path]
    for mirror in _mirrors():
        if (mirror / path).is_file():
            return _confirmed(mirror / path, pinned)
    return _download(pinned)


def _corpus_file(row: dict[str, str]) -> CorpusFile:
    return CorpusFile(**{**row, "bytes": int(row["bytes"])})  # type: ignore[arg-type]  # all others are text


def _mirrors() -> list[Path]:
    stated = os.environ.get(MIRROR_VARIABLE)
    beside_checkout = Path(__file__).resolve().parents[2] / "shared" / "data"
    return [Path(stated), beside_checkout] if stated else [beside_checkout]


def _confirmed(file: Path, pinned: CorpusFile) -> Path:
    if sha256_of_file(file) != pinned.sha256:
        raise IntegrityFailed(
            f"{pinned.path} in the mirror is not the pinned file", "Fetch the mirror again."
        )
    return file


def _download(pinned: CorpusFile) -> Path:
    import pooch

    folder = Path(pooch.os_cache("ultraread")) / Path(pinned.path).parent
    try:
        found = pooch.retrieve(
            url=pinned.url, known_hash=f"sha256:{pinned.sha256}", fname=Path(pinned.path).name, path=folder
        )
    except Exception as failure:  # requests, urllib3 and OS errors alike: the remedy is the same
        raise CorpusUnreachable(f"{pinned.path} could not be had ({type(failure).__name__})") from failure
    return Path(found)
