"""`ultraread models init`, and how cards are shown; `serving/cli_models.py` adds the rest."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ultraread.models.cli_init import init

if TYPE_CHECKING:
    from ultraread.models.card import ModelCard

app = typer.Typer(no_args_is_help=True, help="Models: list, show, validate, register, promote.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Ref = Annotated[str, typer.Argument(help="name, name/version, or the path of a model folder.")]
app.command("init")(init)


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
