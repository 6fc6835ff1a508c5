"""`ultraread audit`: the trail of who did what, shown, verified, exported, signed."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ultraread.errors import AuditChainBroken, NotFound, OutputExists, RequestInvalid, Unavailable
from ultraread.serving import cli_options as options
from ultraread.serving.cli_storage import Config, DataDir, opened

if TYPE_CHECKING:
    from ultraread.serving.audit.verify import SiteReport
    from ultraread.serving.settings import Settings
    from ultraread.serving.store.engine import Store

UNCUT = 10_000
"""Columns for who is no terminal: a program cuts nothing off."""

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Who did what, when and why: a chain of hashes for each site, with signed checkpoints.",
)

Site = Annotated[str, typer.Option("--site", help="Whose trail.")]
PublicKeys = Annotated[
    list[Path] | None,
    typer.Option("--public-key", help="Of the signer, as `init-key` made it; again for a key used before."),
]


@app.command("ls")
def list_events(
    site: Site = "main",
    after: Annotated[int, typer.Option("--after", min=0, help="Only events after this number.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    subject: Annotated[str | None, typer.Option("--subject", help="Of this id.")] = None,
    who: Annotated[str | None, typer.Option("--who", help="By this person or program.")] = None,
    what: Annotated[str | None, typer.Option("--what", help="Of this kind: read_ended, say.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="ISO 8601 in UTC.")] = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """List events of a site, oldest first.

    Example: ultraread audit ls --subject 01k9... --limit 100
    """
    from ultraread.serving.store.audit import AuditLog, event_of

    with opened(config, data_dir) as house, house.store.reading() as session:
        rows = AuditLog(session, site).list(after, limit, subject, who, what, since)
        events = [event_of(row).as_json() for row in rows]
    if as_json:
        typer.echo(json.dumps(events))
    else:
        _print_events(events)


@app.command()
def verify(
    exported: Annotated[
        Path | None, typer.Argument(help="A file of `audit export`; without one, the database.")
    ] = None,
    public_key: PublicKeys = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", help="File of checkpoints, or an export, that was kept elsewhere."),
    ] = None,
    site: Annotated[list[str] | None, typer.Option("--site", help="Only this site; may be repeated.")] = None,
    backup: Annotated[
        str | None, typer.Option("--backup", help="The trail in a backup at this place.")
    ] = None,
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="Which one; else the newest.")] = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Hold every event against its hash, its place in the chain and the signed checkpoints.

    Exit status 7 where one is not as it was written: the first one of each site is named, with what happened.

    Example: ultraread audit verify --public-key audit.key.pub --checkpoint /mnt/worm/checkpoints.jsonl
    """
    from ultraread.serving.audit.signing import load_public_key

    keys = [load_public_key(path) for path in public_key or ()]
    if exported is not None:
        reports = _verified_export(exported, keys, checkpoint or ())
    else:
        with _trail_of(backup, snapshot, config, data_dir) as (settings, store):
            reports = _verified(
                settings, store, keys, checkpoint or (), site or (), of_backup=backup is not None
            )
    _tell_reports(reports, as_json)
    broken = [
        f"{one.site}, event {one.fault.sequence}, {one.fault.kind}: {one.fault.told}"
        for one in reports
        if one.fault
    ]
    if broken:
        raise AuditChainBroken("; ".join(broken))


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="File to write; it must not be there yet.")],
    site: Site = "main",
    as_csv: Annotated[
        bool, typer.Option("--csv", help="For table programs; only JSON lines can be verified.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Write the whole trail of a site, which anybody can verify who has the file and the public key.

    Example: ultraread audit export --site main --out trail.jsonl
    """
    from sqlalchemy import select

    from ultraread.serving.audit.checkpoints import seal_all
    from ultraread.serving.audit.export import exported
    from ultraread.serving.audit.trail import DatabaseTrail
    from ultraread.serving.store.clock import utc_now

    with _new_file(out) as file, opened(config, data_dir) as house:
        _note_export(house.store, site)
        seal_all(house.store)
        with house.store.reading() as session:
            now = session.execute(select(utc_now())).scalar_one()
            events = _write_lines(file, exported(DatabaseTrail(session, site), now), as_csv)
    typer.echo(f"{site}: {events} events written to {out}", err=True)


@app.command("init-key")
def init_key(
    file: Annotated[Path, typer.Argument(help="New file of the private key; not in the data folder.")],
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Make the key that signs checkpoints, and beside it the public key that verifies them.

    Example: ultraread audit init-key /etc/ultraread/audit.key
    """
    from ultraread.serving.audit.signing import make_key, refuse_within
    from ultraread.serving.settings import load_settings

    refuse_within(load_settings(config, data_dir=data_dir).data_dir, file)
    public = make_key(file)
    told = f"{file}: private; set audit_key_file to it\n{public}: public; give it to whoever verifies"
    typer.echo(json.dumps({"private": str(file), "public": str(public)}) if as_json else told)


@app.command()
def sign(config: Config = None, data_dir: DataDir = None, as_json: options.AsJson = False) -> None:
    """Sign now where each site's trail stands, as the service does now and then.

    Example: ultraread audit sign
    """
    from ultraread.serving.audit.checkpoints import open_checkpointer

    with opened(config, data_dir) as house:
        checkpointer = open_checkpointer(house.settings, house.store)
        if checkpointer.signer is None:
            raise RequestInvalid(
                "there is no key to sign with", "Set audit_key_file: ultraread audit init-key."
            )
        signed = [one.as_json() for one in checkpointer.sign_all()]
    if as_json:
        typer.echo(json.dumps(signed))
        return
    for one in signed:
        typer.echo(f"{one['site']}: signed up to event {one['sequence']}")
    typer.echo(f"{len(signed)} signed")


@contextmanager
def _trail_of(
    backup: str | None, snapshot: str | None, config: Path | None, data_dir: Path | None
) -> "Iterator[tuple[Settings, Store]]":
    """The database of the settings, or a copy of that in a backup."""
    if backup is None:
        with opened(config, data_dir) as house:
            yield house.settings, house.store
        return
    from contextlib import closing

    from ultraread.serving.settings import load_settings
    from ultraread.serving.storage.copying import bytes_of
    from ultraread.serving.storage.manifest import DATABASE, read_manifest
    from ultraread.serving.storage.places import target_at
    from ultraread.serving.storage.target import Folder, StoredName
    from ultraread.serving.store.engine import open_store

    source = target_at(backup)
    file = next((one for one in read_manifest(source, snapshot).files if one.path == DATABASE), None)
    if file is None:
        raise NotFound("this snapshot holds no database", "Take another one: --snapshot.")
    with TemporaryDirectory() as folder:
        name = StoredName(DATABASE, file.sha256, file.bytes)
        Folder(Path(folder)).put(name, bytes_of(source, file.kept))
        with closing(open_store(f"sqlite:///{folder}/{DATABASE}")) as store:
            yield load_settings(config, data_dir=data_dir), store


def _verified(
    settings: "Settings",
    store: "Store",
    keys: Sequence[str],
    checkpoints: Sequence[Path],
    sites: Sequence[str],
    *,
    of_backup: bool,
) -> "list[SiteReport]":
    """A backup is older than the checkpoints beside the database: only those that are named count for it."""
    from ultraread.serving.audit.checkpoint_file import checkpoints_in
    from ultraread.serving.audit.trail import DatabaseTrail, readable, sites_in
    from ultraread.serving.audit.verify import verify_trail

    files = [*checkpoints]
    if not of_backup and settings.checkpoint_file.is_file():
        files.append(settings.checkpoint_file)
    elsewhere = [one for file in files for one in checkpoints_in(file)]
    with store.reading() as session, readable(session):
        there = sorted({*sites_in(session), *(one.site for one in elsewhere)})
        if unknown := set(sites) - set(there):
            raise NotFound(
                f"there is no trail of {', '.join(sorted(unknown))}", f"There are: {', '.join(there)}."
            )
        return [verify_trail(DatabaseTrail(session, one), keys, elsewhere) for one in sites or there]


def _verified_export(file: Path, keys: Sequence[str], checkpoints: Sequence[Path]) -> "list[SiteReport]":
    from ultraread.serving.audit.checkpoint_file import checkpoints_in
    from ultraread.serving.audit.export import open_export
    from ultraread.serving.audit.verify import verify_trail

    elsewhere = [one for kept in checkpoints for one in checkpoints_in(kept)]
    return [verify_trail(open_export(file), keys, elsewhere)]


def _note_export(store: "Store", site: str) -> None:
    from ultraread.serving.store.access_tables import SiteRow
    from ultraread.serving.store.audit import AuditLog

    with store.writing() as session:
        if session.get(SiteRow, site) is None:
            raise NotFound(f"there is no site {site}", "See `ultraread sites ls`.")
        AuditLog(session, site).append("local", "audit_exported", site)


@contextmanager
def _new_file(out: Path) -> Iterator[TextIO]:
    """Gone where it does not get whole. Raises OutputExists, Unavailable, StorageFull."""
    from ultraread.serving.storage.durable import full_storage_coded

    try:
        file = out.open("x", newline="")
    except FileExistsError as there:
        raise OutputExists(f"{out} exists") from there
    except OSError as failure:
        told = f"--out {out} cannot be written ({failure.strerror})"
        raise Unavailable(told, "Choose another --out.") from failure
    try:
        with full_storage_coded("the export"), file:
            yield file
    except BaseException:
        out.unlink()
        raise


def _write_lines(file: TextIO, lines: Iterator[dict[str, Any]], as_csv: bool) -> int:
    """Return how many events were among them."""
    from ultraread.serving.audit.export import CSV_COLUMNS, csv_row

    table, events = csv.writer(file), 0
    if as_csv:
        table.writerow(CSV_COLUMNS)
    for line in lines:
        is_event = line["kind"] == "event"
        events += is_event
        if not as_csv:
            file.write(f"{json.dumps(line)}\n")
        elif is_event:
            table.writerow(csv_row(line))
    return events


def _tell_reports(reports: "Sequence[SiteReport]", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in reports]))
        return
    for one in reports:
        signed = f"signed up to event {one.signed_upto} ({one.signed_at})" if one.signed_upto else "unsigned"
        late = f"; {one.sealed} sealed later than written" if one.sealed else ""
        waiting = f"; {one.unsealed} not in the chain yet" if one.unsealed else ""
        state = "broken" if one.fault else "whole"
        typer.echo(f"{one.site}: {one.events} events, {state}, {signed}{late}{waiting}")
        for key in one.public_keys:
            typer.echo(f"  signed by {key}")


def _print_events(events: Sequence[dict[str, Any]]) -> None:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("#", "at (UTC)", "who", "what", "subject"):
        table.add_column(column, no_wrap=column in {"#", "subject"})
    for one in events:
        shown = (one["sequence"], one["at"][:19].replace("T", " "), one["who"], one["what"], one["subject"])
        table.add_row(*(escape(str(cell)) for cell in shown))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else UNCUT).print(table)
