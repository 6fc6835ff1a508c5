"""Hold a slide, a result folder or a scan record against its digests; name what is damaged."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import rfc8785

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.identity.called import called
from ultraread.datasets.slide import TileUnreadable
from ultraread.datasets.slide_address import ZARR_METADATA, address_of
from ultraread.datasets.slide_digest import digest_slide
from ultraread.errors import DecodeFailed, IntegrityFailed
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.findings import digest_of
from ultraread.serving.results.case import CASE_FILE

STEP_PX = 1024
PROVENANCE, SCAN_RECORD = "provenance.json", "scan_record.json"
OF_A_RESULT = (PROVENANCE, "findings.json")


def verify(path: Path) -> list[str]:
    """Return what was confirmed, one line each. Raises IntegrityFailed naming all that is damaged."""
    if path.suffix == ".json":
        return [_verify_record(path) if path.name == SCAN_RECORD else _verify_digest(path)]
    if not path.is_dir() or _is_slide(path):
        return _verify_slide(path)
    folders = [path] if any((path / name).is_file() for name in OF_A_RESULT) else _result_folders(path)
    if not folders:
        raise IntegrityFailed(
            f"{path} holds no result", "Name a slide, a result folder or a folder of results."
        )
    confirmed = [line for folder in folders for line in _verify_result(folder)]
    if (path / CASE_FILE).is_file():
        confirmed.append(_verify_digest(path / CASE_FILE))
        _verify_fields(path, folders)
    return confirmed


def _is_slide(folder: Path) -> bool:
    """Whether a folder is an OME-Zarr or a DICOM slide; pictures alone are what a damaged result has, too."""
    return any((folder / name).is_file() for name in ZARR_METADATA) or any(folder.glob("*.dcm"))


def _verify_fields(path: Path, folders: list[Path]) -> None:
    """Hold the fields of a case against the folders beside it."""
    stated = {one["slide_sha256"] for one in _confirmed(path / CASE_FILE)["fields"] if not one["error_code"]}
    there = {_confirmed(folder / "findings.json")["slide"]["sha256"] for folder in folders}
    if stated - there:
        raise IntegrityFailed(
            f"{len(stated - there)} fields of {path.name}/{CASE_FILE} have no result folder"
        )


def _result_folders(path: Path) -> list[Path]:
    """Every visible folder that holds anything: one that lost some of its files is damaged."""
    folders = [folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    return sorted(folder for folder in folders if any(folder.iterdir()))


def _verify_result(folder: Path) -> list[str]:
    """Every file against provenance.json; that and the findings against their own digests."""
    provenance = _confirmed(folder / PROVENANCE)
    wrong = [
        name
        for name, sha256 in provenance["files"].items()
        if not (folder / name).is_file() or sha256_of_file(folder / name) != sha256
    ]
    if wrong:
        raise IntegrityFailed(f"{folder.name}: missing or changed: {', '.join(sorted(wrong))}")
    return [
        f"{folder.name}: {len(provenance['files'])} files as written",
        _verify_digest(folder / "findings.json"),
    ]


def _verify_record(path: Path) -> str:
    """The record of a result folder carries no digest of its own: provenance.json has it."""
    if not path.with_name(PROVENANCE).is_file():
        return _verify_digest(path)
    stated = _confirmed(path.with_name(PROVENANCE))["files"].get(path.name)
    if not path.is_file() or sha256_of_file(path) != stated:
        raise IntegrityFailed(f"{path.parent.name}/{path.name} is missing or not what {PROVENANCE} says")
    return f"{path.parent.name}/{path.name}: as {PROVENANCE} says"


def _verify_digest(path: Path) -> str:
    _confirmed(path)
    return f"{path.parent.name}/{path.name}: digest confirmed"


def _confirmed(path: Path) -> dict[str, Any]:
    """The JSON of a file that carries the digest of all else in it. Raises IntegrityFailed."""
    try:
        data = path.read_bytes()
        body: dict[str, Any] = json.loads(data)
        if body["digest"] == digest_of(body) and data in _forms(body):
            return body
    except (OSError, ValueError, KeyError, TypeError):
        pass  # the same to whoever has to act
    raise IntegrityFailed(f"{path.parent.name}/{path.name} is missing or not what its digest says")


def _forms(body: dict[str, Any]) -> tuple[bytes, ...]:
    """How such a file is written: its digest is that of the content, whatever blanks and notation it has."""
    return rfc8785.dumps(body), (json.dumps(body, indent=2) + "\n").encode()


def _verify_slide(path: Path) -> list[str]:
    """Decode everything once. What cannot be decoded is named by its place."""
    confirmed, name = [], called(path)
    with closing(DecodingPool()) as decoding, decoding.open(address_of(path)) as slide:
        for image in slide.info.images:
            damaged = []
            for box in _boxes(image.size):
                try:
                    slide.read_box(image.index, 0, box)
                except (TileUnreadable, DecodeFailed) as failure:
                    damaged.append(f"image {image.index} near x={box.x}, y={box.y}: {failure}")
            if damaged:
                raise IntegrityFailed(f"{name}: " + "; ".join(damaged[:20]), "Copy the slide again.")
            confirmed.append(
                f"{name}: image {image.index}, {image.size.width} x {image.size.height} px decodable"
            )
    sha256 = digest_slide(address_of(path)).sha256 if path.is_dir() else sha256_of_file(path)
    return [*confirmed, f"{name}: sha256 {sha256}"]


def _boxes(size: SizePx) -> Iterator[BoxPx]:
    for y in range(0, size.height, STEP_PX):
        for x in range(0, size.width, STEP_PX):
            yield BoxPx(x, y, min(STEP_PX, size.width - x), min(STEP_PX, size.height - y))
