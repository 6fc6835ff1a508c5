"""The stages in their order: cross-validate, calibrate, train, export. Each leaves a file for the next."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.manifest import load_manifest
from ultraread.errors import OutputExists, RequestInvalid
from ultraread.models.card import (
    CARD_FILE,
    ConformalClass,
    ImageMeanStd,
    ModelCard,
    Quantisation,
    Twin,
    load_card,
    write_card,
)
from ultraread.models.evaluation import SetFigures
from ultraread.models.golden import GOLDEN_FILE, GOLDEN_TOLERANCE, write_golden_pair
from ultraread.training.calibrate import CalibrationRecord, calibrate, limits_of, load_calibration
from ultraread.training.calibration import set_scales
from ultraread.training.class_maps import ClassMaps, maps_by_field
from ultraread.training.config import TrainingConfig, config_sha256, learned_sha256, load_config
from ultraread.training.cross_validation import (
    OnFold,
    cross_validate,
    make_sampler,
    training_fields,
)
from ultraread.training.export import check_parity, export_onnx
from ultraread.training.fields import Field, load_training_fields
from ultraread.training.judge import predict_set, set_figures
from ultraread.training.metrics import auc
from ultraread.training.model_card import Exported, make_card
from ultraread.training.model_view import ModelView, view_of_recipe
from ultraread.training.network import PatchNetwork, make_network
from ultraread.training.onnx_session import OUTPUTS, of_session
from ultraread.training.predict import FieldPrediction, field_tiles, predict_fields
from ultraread.training.provenance import machine, training_run
from ultraread.training.quantise import SCHEME, check_auc, digest_of_tiles, quantise
from ultraread.training.strangeness import fit_strangeness
from ultraread.training.thresholds import coverage
from ultraread.training.train import OnStep, train_network, weights_digest

MODEL_FILE = "model.onnx"
TWIN_FILE = "model-fp32.onnx"
TWIN_GOLDEN = "golden-fp32.npz"
WEIGHTS_FILE = "final.weights.pt"
INT8_TOLERANCE = 0.01
"""Largest absolute difference of an int8 model from its golden pair; measured without VNNI: none at all."""

Told = Callable[[str], None]
"""Called with what a stage does next."""


def cross_validate_recipe(
    config_file: Path, runs: Path, on_fold: OnFold, only: Sequence[int] | None = None
) -> list[FieldPrediction]:
    """Stage 1: one model a fold (of `only` these); out-of-fold predictions stay in the run folder."""
    return cross_validate(load_config(config_file), run_folder(config_file, runs), on_fold, only)


def calibrate_recipe(config_file: Path, results: Path, runs: Path) -> CalibrationRecord:
    """Stage 2: scales, limits and figures from the out-of-fold predictions, into `results`.

    Raises RequestInvalid where a fold has not been trained yet.
    """

    def refuse(fold: object) -> OnStep:
        raise RequestInvalid(
            "the folds of this recipe are not trained yet", f"Run: ultraread cross-validate {config_file}"
        )

    config = load_config(config_file)
    predictions = cross_validate(config, run_folder(config_file, runs), refuse)
    record = calibrate(predictions, config, config_sha256(config_file))
    results.mkdir(parents=True, exist_ok=True)
    calibration_file(config_file, results).write_text(record.model_dump_json(indent=2) + "\n")
    return record


def train_recipe(config_file: Path, runs: Path, on_step: OnStep) -> tuple[PatchNetwork, list[Field]]:
    """Stage 3: one network on every training field; its weights stay in the run folder."""
    config, folder = load_config(config_file), run_folder(config_file, runs)
    fields = load_training_fields(training_fields(config), config)
    network = train_network(make_sampler(fields, config), config, folder / "final.pt", on_step)
    torch.save(network.state_dict(), folder / WEIGHTS_FILE)
    (folder / "final.weights.sha256").write_text(weights_digest(network) + "\n")
    return network, fields


def trained_network(config_file: Path, runs: Path) -> PatchNetwork:
    """What stage 3 left. Raises RequestInvalid where it has not run."""
    file = run_folder(config_file, runs) / WEIGHTS_FILE
    if not file.is_file():
        raise RequestInvalid("this recipe is not trained yet", f"Run: ultraread train {config_file}")
    network = make_network(load_config(config_file))
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.eval()


def export_recipe(config_file: Path, out: Path, results: Path, runs: Path, told: Told) -> ModelCard:
    """Stage 4: ONNX, gates, golden pairs, figures on left-out data sets, card; into the model folder `out`.

    The folder replaces an older model folder only when it is whole. Raises ModelParityFailed, and
    OutputExists where something else lies there.
    """
    _refuse_what_is_no_model(out)
    config, network = load_config(config_file), trained_network(config_file, runs)
    fields = load_training_fields(training_fields(config), config)
    record = calibration_of(config_file, results)
    if record:
        set_scales(network, record.classes)
        fit_strangeness(network, fields, view_of_recipe(config), config.out_of_domain.components)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as unfinished:
        folder = Path(unfinished) / "made"
        folder.mkdir()
        exported = _export(network, fields, config, record, folder, told)
        run = training_run(config_file, f"ultraread train {config_file.name}")
        write_card(make_card(exported, config, run, record), folder)
        _replace_folder(folder, out, Path(unfinished) / "older")
    return load_card(out)


def calibration_of(config_file: Path, results: Path) -> CalibrationRecord | None:
    """The calibration of this recipe; None where there is none. Raises RequestInvalid where it is stale."""
    record = load_calibration(calibration_file(config_file, results))
    if record and record.config_sha256 != config_sha256(config_file):
        raise RequestInvalid(
            f"the calibration in {results.name}/ is of another state of {config_file.name}",
            f"Run: ultraread calibrate {config_file}",
        )
    return record


def calibration_file(config_file: Path, results: Path) -> Path:
    return results / f"{config_file.stem}-calibration.json"


def run_folder(config_file: Path, runs: Path) -> Path:
    """Where checkpoints of this recipe lie; a change that the weights depend on starts afresh."""
    return runs / f"{config_file.stem}-{learned_sha256(load_config(config_file))[:12]}"


def _export(
    network: PatchNetwork,
    fields: Sequence[Field],
    config: TrainingConfig,
    record: CalibrationRecord | None,
    folder: Path,
    told: Told,
) -> Exported:
    told("exporting to ONNX, and comparing it with torch on every training tile")
    view, fp32 = view_of_recipe(config), folder / TWIN_FILE
    export_onnx(network, config, fp32)
    check_parity(network, fp32, _tiles(fields, view), view.batch_size)
    quantisation = _quantised(fields, config, fp32, folder / MODEL_FILE, told) if config.export.int8 else None
    if quantisation is None:
        fp32.replace(folder / MODEL_FILE)
    twin = _twin(fp32, config) if quantisation else None
    tolerance = INT8_TOLERANCE if quantisation else GOLDEN_TOLERANCE
    golden = write_golden_pair(
        folder / MODEL_FILE, view.tile_px, _rule(config), OUTPUTS, GOLDEN_FILE, tolerance
    )
    judged, covered = _judge(folder / MODEL_FILE, config, record, told) if record else ([], [])
    return Exported(sha256_of_file(folder / MODEL_FILE), golden, quantisation, twin, judged, covered)


def _quantised(
    fields: Sequence[Field], config: TrainingConfig, fp32: Path, int8: Path, told: Told
) -> Quantisation:
    """Write the int8 variant; raises ModelParityFailed where it fails its gate."""
    told("quantising to int8, and comparing its ranking with float32")
    view = view_of_recipe(config)
    tiles = _tiles(fields, view)
    spread = np.linspace(0, len(tiles) - 1, config.export.calibration_tiles).astype(int)
    chosen = tiles[torch.from_numpy(spread)].numpy()
    quantise(fp32, int8, chosen, view.batch_size)
    difference = auc_difference(int8, fp32, fields, view)
    check_auc(difference)
    return Quantisation(
        scheme=SCHEME,
        calibration_set=", ".join(sorted({one.labelled.specimen for one in fields})),
        calibration_tiles=len(chosen),
        calibration_sha256=digest_of_tiles(chosen),
        auc_difference=difference,
        measured_on=f"training tiles of all {len(fields)} fields, {machine()}",
    )


def auc_difference(int8: Path, fp32: Path, fields: Sequence[Field], view: ModelView) -> dict[str, float]:
    """AUC of int8 minus fp32 a class, on the same fields: of patches, or of tiles where no patch is positive.

    Classes that no mask labels, or that every or no tile shows, cannot be ranked and are left out.
    """
    pair = [predict_fields(of_session(file), fields, view) for file in (int8, fp32)]
    found = {}
    for number, one in enumerate(view.classes):
        ours, theirs = (maps_by_field(side, view, number) for side in pair)
        if ours and theirs and np.isfinite(difference := _ranking(ours, view) - _ranking(theirs, view)):
            found[one.code] = round(difference, 6)
    return found


def _ranking(maps: ClassMaps, view: ModelView) -> float:
    found = (_auc(maps, patches) for patches in (1, view.core_px // view.patch_px))
    return next((value for value in found if np.isfinite(value)), float("nan"))


def _auc(maps: ClassMaps, patches: int) -> float:
    scored = maps.scored(patches)
    return auc(np.concatenate(scored.scores), np.concatenate(scored.positive(maps.covered(patches))))


def _twin(fp32: Path, config: TrainingConfig) -> Twin:
    golden = write_golden_pair(fp32, config.model.tile_px, _rule(config), OUTPUTS, TWIN_GOLDEN)
    return Twin(file=fp32.name, sha256=sha256_of_file(fp32), golden_pair=golden)


def _judge(
    model: Path, config: TrainingConfig, record: CalibrationRecord, told: Told
) -> tuple[list[SetFigures], list[ConformalClass]]:
    """Figures and conformal coverage on every data set that was left out, by the file that is shipped."""
    view, limits, score = view_of_recipe(config), limits_of(record.thresholds), of_session(model)
    learned = {one.image_sha256 for one in training_fields(config)}
    judged: list[SetFigures] = []
    covered: list[ConformalClass] = []
    for path in (*config.judged, *config.out_of_domain.judged):
        manifest = load_manifest(path)
        fields = [one for one in manifest.fields if one.image_sha256 not in learned]
        if not fields:
            continue
        told(f"judging on {manifest.name}")
        found = predict_set(score, fields, view)
        judged.append(
            set_figures(
                manifest,
                found,
                view,
                limits,
                record.strangeness_threshold,
                seen_in_training=False,
                measurements=config.derived_measurements,
            )
        )
        for number, one in enumerate(view.classes):
            if maps := maps_by_field(found, view, number):
                covered.append(coverage(maps, view, limits[one.code], f"{manifest.name}, left out"))
    return judged, covered


def _tiles(fields: Sequence[Field], view: ModelView) -> Tensor:
    return torch.cat([field_tiles(field.grey, view)[0] for field in fields])


def _rule(config: TrainingConfig) -> ImageMeanStd:
    return ImageMeanStd(rule="image_mean_std", sample_tiles=config.model.sample_tiles, clip=config.model.clip)


def _refuse_what_is_no_model(out: Path) -> None:
    if out.exists() and not (out / CARD_FILE).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExists(f"{out} exists and is no model folder")


def _replace_folder(made: Path, out: Path, aside: Path) -> None:
    """Two renames: between them there is no model, and never half a one."""
    if out.exists():
        out.rename(aside)
    made.rename(out)
