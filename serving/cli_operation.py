"""`ultraread serve`, `stop`, `doctor` and `db`: for whoever runs the service."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultraread.serving import cli_options as options
from ultraread.serving.cli_storage import Config, DataDir

if TYPE_CHECKING:
    from ultraread.serving.doctor import Check

db = typer.Typer(no_args_is_help=True, help="The tables of the database.", rich_markup_mode=None)


def serve(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (loopback only).")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; 0 lets the system choose.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of database, slides and results.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Classifier replicas a model.")] = None,
) -> None:
    """Start API and readers; Ctrl-C or SIGTERM drains and stops them. In profile cluster: deploy, and return.

    Example: ultraread serve --port 8000 --data-dir ~/ultraread-data
    """
    from ultraread.serving.embedded import running, wait_for_stop
    from ultraread.serving.logs import shown
    from ultraread.serving.settings import load_settings

    settings = load_settings(config, host=host, port=port, data_dir=data_dir, replicas=replicas)
    if settings.profile == "cluster":
        from ultraread.serving.cluster import deploy_on_cluster

        url = deploy_on_cluster(settings)
        typer.echo(f"UltraRead answers at {url} on every node. `ultraread stop` stops it.", err=True)
        return
    typer.echo("Starting Ray Serve (about 15 s)", err=True)
    with shown(settings.log_plan), running(settings) as url:
        typer.echo(
            f"UltraRead answers at {url} (described at {url}/v1/openapi.json). Ctrl-C stops it.", err=True
        )
        if settings.owner_token_file.is_file():
            typer.echo(f"Its owner's token is in {settings.owner_token_file}", err=True)
        wait_for_stop()
        typer.echo("Stopping: reads are handed back, uploads are finished", err=True)


def stop(config: Config = None) -> None:
    """Drain and remove the service from its Ray cluster (profile cluster); the cluster stays.

    Example: ultraread stop --config ultraread.toml
    """
    from ultraread.serving.cluster import stop_on_cluster
    from ultraread.serving.settings import load_settings

    stop_on_cluster(load_settings(config))


def doctor(config: Config = None, data_dir: DataDir = None, as_json: options.AsJson = False) -> None:
    """Check this machine, the models, the settings and all that the service needs; say what to do.

    Example: ultraread doctor --config ultraread.toml
    """
    from ultraread.serving.doctor import examine

    checks = examine(config, data_dir)
    if as_json:
        typer.echo(json.dumps([_shown(one) for one in checks]))
    else:
        for one in checks:
            typer.echo(f"{_mark(one)} {one.name}: {one.told}")
    raise typer.Exit(max(one.exit_status for one in checks))


@db.command("current")
def current(config: Config = None, as_json: options.AsJson = False) -> None:
    """Which revision the tables are at, and which one this version has.

    Example: ultraread db current
    """
    from ultraread.serving.settings import load_settings
    from ultraread.serving.store.schema import head, revision_of

    settings = load_settings(config)
    there = revision_of(settings.database_address) if settings.has_database else ""
    if as_json:
        typer.echo(json.dumps({"database": there or None, "version": head()}))
    else:
        typer.echo(f"database {there or 'empty'}, this version {head()}")


@db.command("upgrade")
def upgrade(config: Config = None) -> None:
    """Bring the tables up to this version, as the next start would; services that run go on meanwhile.

    Example: ultraread db upgrade --config ultraread.toml
    """
    from ultraread.serving.settings import load_settings, prepare_folders
    from ultraread.serving.store.engine import open_store

    settings = load_settings(config)
    prepare_folders(settings)
    open_store(settings.database_address).close()


def _shown(check: "Check") -> dict[str, str | bool]:
    return {"check": check.name, "ok": check.ok, "warning": check.is_warning, "told": check.told}


def _mark(check: "Check") -> str:
    if not check.ok:
        return "FAIL"
    return "WARN" if check.is_warning else "ok  "
