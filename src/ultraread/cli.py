"""`ultraread`: the commands of all rooms, and the one place where errors become exit statuses."""

import json
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from ultraread.datasets.cli import info
from ultraread.datasets.cli_datasets import app as datasets
from ultraread.datasets.identity.cli import deidentify
from ultraread.datasets.quality.cli import quality
from ultraread.errors import Interrupted, UltraReadError
from ultraread.models.cli import app as models
from ultraread.serving.cli import print_error, read
from ultraread.serving.cli_access import sites, tokens, users
from ultraread.serving.cli_audit import app as audit
from ultraread.serving.cli_calibrations import app as calibrations
from ultraread.serving.cli_client import cancel, fetch, status, submit
from ultraread.serving.cli_convert import convert
from ultraread.serving.cli_models import attach as attach_registry
from ultraread.serving.cli_operation import db, doctor, serve, stop
from ultraread.serving.cli_records import app as records
from ultraread.serving.cli_replay import replay
from ultraread.serving.cli_storage import backup, restore, storage, verify
from ultraread.serving.cli_watch import watch
from ultraread.serving.cli_webhooks import app as webhooks
from ultraread.training.cli import calibrate, cross_validate, evaluate, export, leave_one_out, train


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"ultraread {version('ultraread')}")
        raise typer.Exit


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def ultraread(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """AI-assisted second read of digitized EM slides. Research use only: it suggests, never diagnoses."""


for command in (read, info, verify, serve, submit, status, fetch, cancel, doctor, backup, restore):
    app.command()(command)
app.command()(stop)
app.add_typer(db, name="db")
app.command()(convert)
app.command()(watch)
app.command()(replay)
app.command()(quality)
app.command()(deidentify)
app.command()(train)
app.command()(calibrate)
app.command()(evaluate)
app.command()(export)
app.command("cross-validate")(cross_validate)
app.command("leave-one-out")(leave_one_out)
attach_registry(models)
app.add_typer(models, name="models")
app.add_typer(audit, name="audit")
app.add_typer(calibrations, name="calibrations")
app.add_typer(datasets, name="datasets")
app.add_typer(records, name="records")
app.add_typer(storage, name="storage")
app.add_typer(webhooks, name="webhooks")
app.add_typer(tokens, name="tokens")
app.add_typer(users, name="users")
app.add_typer(sites, name="sites")


def main() -> None:
    """Run a command; tell its error on stderr and exit with the error's status."""
    try:
        app()
    except UltraReadError as error:
        _leave(error)
    except KeyboardInterrupt:
        _leave(Interrupted("stopped"))


def _leave(error: UltraReadError) -> None:
    if "--json" in sys.argv:
        typer.echo(json.dumps(error.problem()), err=True)
    else:
        print_error(error)
    sys.exit(error.exit_status)
