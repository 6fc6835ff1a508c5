"""`ultraread models validate`, and how cards are shown; `serving/cli_models.py` adds the rest."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ultraread.models.cli_init import init, print_missing

if TYPE_CHECKING:
    from ultraread.models.card import ModelCard

app = typer.Typer(no_args_is_help=True, help="Models: list, show, validate, register, promote.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Ref = Annotated[str, typer.Argument(help="name, name/version, or the path of a model folder.")]
app.command("init")(init)


@app.command()
def validate(ref: Ref, as_json: AsJson = False) -> None:
    """Prove that a model can be trusted to run here: digests, operators, inputs and outputs, golden pair.

    Where int8 weights miss their golden pair here, their float32 twin is proved. What the card does not
    say yet is listed.

    Example: ultraread models validate ./models/zoo/ultrastructure-vnc/2.0.0
    """
    from ultraread.models.classifier import OnnxClassifier, fitting
    from ultraread.models.missing import missing_of
    from ultraread.models.registry import find_model

    model = fitting(find_model(ref))
    worst = OnnxClassifier(model, threads=1).golden_difference
    told = {"model": model.card.ref, "valid": True, "golden_difference": worst, "sha256": model.card.sha256}
    allowed, missing = model.golden_pair.golden_tolerance, missing_of(model)
    if as_json:
        ran = {"uses_twin": model.uses_twin, "onnx_sha256": model.onnx_sha256}
        typer.echo(json.dumps({**told, **ran, "missing": [asdict(gap) for gap in missing]}))
        return
    typer.echo(f"{model.card.ref} is valid here: {worst:.2g} off its golden pair, {allowed:g} allowed")
    if model.uses_twin:
        typer.echo("Its int8 weights miss their golden pair on this machine: its float32 twin runs here.")
    print_missing(missing)


def summary(card: "ModelCard") -> dict[str, Any]:
    """What a list shows of a model."""
    told = card.model_dump(mode="json")
    return {
        key: told[key]
        for key in ("name", "version", "sha256", "classes", "nm_per_px", "specimens", "licence")
    }


def print_card(card: "ModelCard") -> None:
    """A card for people."""
    console = Console()
    console.print(f"[bold]{card.ref}[/]  {card.intended_use}\n[bold]Not for:[/] {card.not_intended_use}")
    console.print(f"[bold]Licence of the weights:[/] {card.licence.name}. {card.licence.binds_users_to}")
    table = wrapping_table("metric", "class", "value [95 %]", "n", "data")
    for metric in card.metrics:
        interval = rf"{metric.value:.4g} \[{metric.ci95[0]:.4g}, {metric.ci95[1]:.4g}]"
        table.add_row(metric.metric, metric.code, interval, f"{metric.n} {metric.n_of}", metric.dataset)
    console.print(table)
    for limitation in card.limitations:
        console.print(f"- {limitation}")


def wrapping_table(*headings: str) -> Table:
    """Cells wrap and are never cut: a name that is cut cannot be typed."""
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
