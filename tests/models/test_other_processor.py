"""The shipped int8 model holds its golden pair on a processor without VNNI, AVX-512 or bfloat16.

qemu-user (a Debian package) runs this very Python on an emulated Haswell of 2013: AVX2 and nothing later.
"""

import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ultraread.models.registry import DEFAULT_MODEL, find_model

EMULATOR = shutil.which("qemu-x86_64")
PROVE = """
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import find_model
print(OnnxClassifier(find_model("{ref}"), threads=1).golden_difference)
"""

needs_emulator = pytest.mark.skipif(
    EMULATOR is None or platform.machine() != "x86_64",
    reason="needs qemu-x86_64 (Debian: qemu-user) on x86_64",
)


@needs_emulator
def test_the_shipped_int8_model_holds_its_golden_pair_without_vnni() -> None:
    model = find_model(DEFAULT_MODEL)
    assert model.card.precision == "int8"
    python = str(Path(sys.executable).resolve())
    source = Path(__file__).resolve().parents[2] / "src"
    paths = ":".join([str(source), sysconfig.get_paths()["purelib"]])
    assert EMULATOR is not None
    done = subprocess.run(
        [EMULATOR, "-cpu", "Haswell", python, "-c", PROVE.format(ref=model.card.ref)],
        env={"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= model.card.golden_pair.golden_tolerance
