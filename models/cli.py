"""`ultraread models`: list the models there are, show a card, prove that a model runs here."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="List, show and validate models.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Ref = Annotated[str, typer.Argument(help="name, name/version, or the path of a model folder.")]


@app.command("ls")
def list_all(as_json: AsJson = False) -> None:
    """List the shipped models.

    Example: ultraread models ls
    """
    from ultraread.models.registry import list_models

    cards = [model.card for model in list_models()]
    if as_json:
        typer.echo(json.dumps([_summary(card.model_dump(mode="json")) for card in cards]))
        return
    table = _table("model", "classes", "nm/px", "made for", "licence of the weights")
    for card in cards:
        scale = f"{card.nm_per_px.nominal:g} ({card.nm_per_px.min:g} to {card.nm_per_px.max:g})"
        names = ", ".join(one.name for one in card.classes)
        table.add_row(card.ref, names, scale, ", ".join(card.specimens), card.licence.name)
    Console().print(table)


@app.command()
def card(ref: Ref, as_json: AsJson = False) -> None:
    """Show a model's card: what it is for, what it is not for, how it was made and how well it does.

    Example: ultraread models card ultrastructure-vnc
    """
    from ultraread.models.registry import find_model

    found = find_model(ref).card
    if as_json:
        typer.echo(found.model_dump_json())
        return
    console = Console()
    console.print(f"[bold]{found.ref}[/]  {found.intended_use}\n[bold]Not for:[/] {found.not_intended_use}")
    console.print(f"[bold]Licence of the weights:[/] {found.licence.name}. {found.licence.binds_users_to}")
    table = _table("metric", "class", "value [95 %]", "n", "data")
    for metric in found.metrics:
        interval = rf"{metric.value:.4g} \[{metric.ci95[0]:.4g}, {metric.ci95[1]:.4g}]"
        table.add_row(metric.metric, metric.code, interval, f"{metric.n} {metric.n_of}", metric.dataset)
    console.print(table)
    for limitation in found.limitations:
        console.print(f"- {limitation}")


@app.command()
def validate(ref: Ref, as_json: AsJson = False) -> None:
    """Prove that a model can be trusted here: digests, operators, inputs and outputs, golden pair.

    Example: ultraread models validate ./models/zoo/ultrastructure-vnc/1.0.0
    """
    from ultraread.models.classifier import OnnxClassifier
    from ultraread.models.registry import find_model

    model = find_model(ref)
    worst = OnnxClassifier(model, threads=1).golden_difference
    told = {"model": model.card.ref, "valid": True, "golden_difference": worst, "sha256": model.card.sha256}
    allowed = model.card.golden_pair.golden_tolerance
    in_words = f"{model.card.ref} is valid here: {worst:.2g} off its golden pair, {allowed:g} allowed"
    typer.echo(json.dumps(told) if as_json else in_words)


def _summary(card: dict[str, Any]) -> dict[str, Any]:
    return {
        key: card[key]
        for key in ("name", "version", "sha256", "classes", "nm_per_px", "specimens", "licence")
    }


def _table(*headings: str) -> Table:
    """Cells wrap and are never cut: a name that is cut cannot be typed."""
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
