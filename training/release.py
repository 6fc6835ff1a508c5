"""The two jobs of the room: cross-validate a recipe, and make its model folder."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from ultraread.models.card import ModelCard, load_card, write_card
from ultraread.training.config import config_sha256, load_config
from ultraread.training.cross_validation import OnFold, cross_validate
from ultraread.training.evaluate import CrossValidation, evaluate, load_cross_validation
from ultraread.training.export import MODEL_FILE, check_parity, export_onnx
from ultraread.training.golden import write_golden_pair
from ultraread.training.model_card import make_card
from ultraread.training.network import PatchNetwork
from ultraread.training.predict import section_tiles
from ultraread.training.provenance import training_run
from ultraread.training.tile_dataset import Section, load_sections
from ultraread.training.train import OnStep, train_network


def cross_validate_recipe(config_file: Path, results: Path, runs: Path, on_fold: OnFold) -> CrossValidation:
    """Train every fold, and write the figures to `results`/<recipe>-cv.json."""
    config = load_config(config_file)
    predictions = cross_validate(config, run_folder(config_file, runs), on_fold)
    command = f"ultraread cross-validate {config_file.name}"
    figures = evaluate(predictions, config, config_file.name, training_run(config_file, command))
    results.mkdir(parents=True, exist_ok=True)
    results_file(config_file, results).write_text(figures.model_dump_json(indent=2) + "\n")
    return figures


def train_recipe(config_file: Path, out: Path, results: Path, runs: Path, on_step: OnStep) -> ModelCard:
    """Train on every section and make the model folder `out`."""
    config = load_config(config_file)
    sections = load_sections(config)
    checkpoint = run_folder(config_file, runs) / "final.pt"
    network = train_network(sections, config, checkpoint, on_step)
    return make_model_folder(network, sections, config_file, out, figures_of(config_file, results))


def make_model_folder(
    network: PatchNetwork,
    sections: Sequence[Section],
    config_file: Path,
    out: Path,
    figures: CrossValidation | None,
) -> ModelCard:
    """Export, compare with torch on every tile of `sections`, and put model, golden pair and card at `out`.

    The folder replaces an older one only when it is whole. Raises ModelInvalid where ONNX and torch differ.
    """
    config = load_config(config_file)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as unfinished:
        model = Path(unfinished) / MODEL_FILE
        export_onnx(network, config, model)
        tiles = torch.cat([section_tiles(section, config) for section in sections])
        check_parity(network, model, tiles, config.model.batch_size)
        golden_pair = write_golden_pair(model, config.model.tile_px, config.model.clip)
        run = training_run(config_file, f"ultraread train {config_file.name}")
        write_card(make_card(model, golden_pair, config, run, figures), model.parent)
        _replace_folder(model.parent, out)
    return load_card(out)


def figures_of(config_file: Path, results: Path) -> CrossValidation | None:
    """The committed figures of exactly this recipe; None where there are none or they are of another one."""
    figures = load_cross_validation(results_file(config_file, results))
    return figures if figures and figures.run.config_sha256 == config_sha256(config_file) else None


def results_file(config_file: Path, results: Path) -> Path:
    return results / f"{config_file.stem}-cv.json"


def run_folder(config_file: Path, runs: Path) -> Path:
    """Where checkpoints of this recipe lie: a changed recipe starts afresh."""
    return runs / f"{config_file.stem}-{config_sha256(config_file)[:12]}"


def _replace_folder(made: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for file in made.iterdir():
        shutil.move(file, out / file.name)
