"""The shape of the house: links, one-way imports without torch, a wheel that carries all, error codes."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ultraread.errors import UltraReadError, error_of_code, every_error

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("datasets", "models", "serving", "training")
EXIT_STATUSES = {1, 2, 3, 5, 6, 7, 8, 130}

IMPORT_WITHOUT_TORCH = """
import importlib, pkgutil, sys
for banned in ("torch", "torchvision", "timm", "ultraread.training"):
    sys.modules[banned] = None
import ultraread.datasets, ultraread.models, ultraread.serving
for room in (ultraread.datasets, ultraread.models, ultraread.serving):
    for found in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        if ".migrations." not in found.name and not found.name.endswith("__main__"):
            importlib.import_module(found.name)
            print(found.name)
"""


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_a_relative_link_that_resolves(room: str) -> None:
    link = ROOT / "src" / "ultraread" / room
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == ROOT / room


def test_nothing_but_training_imports_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT_TORCH], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    imported = done.stdout.split()
    assert "ultraread.serving.application" in imported
    assert "ultraread.models.classifier" in imported
    assert len(imported) > 30


def test_the_help_page_loads_nothing_heavy() -> None:
    heavy = ("onnxruntime", "ray", "mlflow", "torch", "tifffile", "sqlalchemy", "fastapi")
    script = f"import sys, ultraread.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_wheel_made_through_an_sdist_carries_model_schemas_and_migrations_and_imports(
    tmp_path: Path,
) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
    script = (
        "from pathlib import Path; import ultraread.cli, ultraread.models.registry as r;"
        "import ultraread.serving.store.migrate as m; from ultraread.datasets.corpora import pinned_files;"
        "print(r.__file__, [x.card.ref for x in r.list_models()], len(list(m.SCRIPTS.glob('versions/*.py'))),"
        "len(pinned_files()), (Path(r.__file__).parent / 'card.schema.json').is_file())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site")), "imported from the wheel, not from the checkout"
    assert "ultrastructure-vnc/2.0.0" in done.stdout
    assert re.search(r"\] [1-9]\d* \d{3} True", done.stdout), done.stdout


def test_every_error_has_its_own_code_a_remedy_and_a_known_exit_status() -> None:
    errors = list(every_error())
    codes = [error.code for error in errors]
    assert len(codes) == len(set(codes))
    for error in errors:
        assert re.fullmatch("[a-z][a-z0-9_]*", error.code)
        assert error.remedy
        assert error.exit_status in EXIT_STATUSES
        assert 400 <= error.http_status < 600
        assert error_of_code(error.code) is error


def test_an_error_travels_between_processes_whole() -> None:
    import pickle

    sent = UltraReadError("what happened", "what to do")
    arrived = pickle.loads(pickle.dumps(sent))  # noqa: S301  # our own bytes
    assert (arrived.what, arrived.remedy) == ("what happened", "what to do")
