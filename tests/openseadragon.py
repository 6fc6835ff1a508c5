"""OpenSeadragon, as it is published, for the tests that open our pictures with it; never shipped."""

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pooch
from browser import missing

VERSION = "6.1.1"
SHA256 = "b4ab2942f33b90e0448e4d20fc5ed14cee049f1f3ae49d70afd4b05e9a2f92d0"
"""Of the archive that npm serves."""
SCRIPT = "package/build/openseadragon/openseadragon.min.js"


def openseadragon() -> Path:
    """The library's one file, fetched by npm once; without it the test is skipped, and fails under CI."""
    archive = Path(pooch.os_cache("ultraread")) / "tests" / f"openseadragon-{VERSION}.tgz"
    if not archive.is_file():
        _fetch(archive)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert found == SHA256, f"{archive} is not what was looked at"
    script = archive.with_suffix(".js")
    with tarfile.open(archive) as packed, packed.extractfile(SCRIPT) as source:  # type: ignore[union-attr]
        script.write_bytes(source.read())
    return script


def _fetch(archive: Path) -> None:
    if shutil.which("npm") is None:
        missing("npm is not installed, and OpenSeadragon was not fetched before")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=archive.parent) as folder:
        command = ["npm", "pack", "--silent", f"openseadragon@{VERSION}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            missing("OpenSeadragon cannot be fetched by npm")
        os.replace(Path(folder) / archive.name, archive)
