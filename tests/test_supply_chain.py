"""What is installed is what was looked at: the lock has digests for every dependency, and pip heeds them."""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements" / "serve.txt"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)", re.MULTILINE)


def _locked() -> dict[str, tuple[str, str]]:
    """Name to version and digests."""
    return {
        canonicalize_name(name): (version, hashes)
        for name, version, hashes in PINNED.findall(LOCK.read_text())
    }


def test_the_lock_holds_every_dependency_of_the_service_within_its_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = [
        Requirement(line) for line in project["dependencies"] + project["optional-dependencies"]["serve"]
    ]
    locked = _locked()
    outside = [
        one.name for one in stated if not one.specifier.contains(locked[canonicalize_name(one.name)][0])
    ]
    assert outside == []


def test_every_locked_package_has_digests() -> None:
    locked = _locked()
    assert len(locked) > 100
    assert [name for name, (_, hashes) in locked.items() if not hashes] == []
    lines = [line for line in LOCK.read_text().splitlines() if "==" in line and not line.startswith(" ")]
    assert len(lines) == len(locked)


@pytest.mark.parametrize(("flipped", "installs"), [(False, True), (True, False)])
def test_pip_refuses_a_file_with_another_digest(tmp_path: Path, flipped: bool, installs: bool) -> None:
    wheel = _wheel(tmp_path)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    stated = ("0" if digest[0] != "0" else "1") + digest[1:] if flipped else digest
    (tmp_path / "lock.txt").write_text(f"swapped==1.0 --hash=sha256:{stated}\n")
    from_here = ["--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "there")]
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *from_here,
        "--require-hashes",
        "-r",
        str(tmp_path / "lock.txt"),
    ]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is installs
    assert ("DO NOT MATCH THE HASHES" in done.stderr) is not installs


def test_the_bill_of_materials_lists_what_the_lock_holds(tmp_path: Path) -> None:
    told = tmp_path / "sbom.json"
    lister = Path(sys.prefix) / "audit" / "bin" / "cyclonedx-py"
    make = [lister, "requirements", LOCK, "--of", "JSON", "-o", told]
    subprocess.run(make, check=True, capture_output=True)
    components = json.loads(told.read_text())["components"]
    assert {canonicalize_name(one["name"]): one["version"] for one in components} == {
        name: version for name, (version, _) in _locked().items()
    }


def test_what_slows_every_process_of_ray_is_not_beside_it() -> None:
    """Its import builds a parser, and jsonschema, which Ray imports, imports it where it is there."""
    assert find_spec("rfc3987_syntax") is None, "make clean, or pip uninstall rfc3987-syntax"


def _wheel(folder: Path) -> Path:
    """The smallest package that pip installs."""
    path = folder / "swapped-1.0-py3-none-any.whl"
    files = {
        "swapped.py": "",
        "swapped-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: swapped\nVersion: 1.0\n",
        "swapped-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "swapped-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path
