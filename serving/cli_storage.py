"""`ultraread verify`, `backup`, `restore` and `ultraread storage`: what is kept, and whether it is whole."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import DownloadColumn
from rich.table import Table

from ultraread.datasets.stored_file import is_remote
from ultraread.errors import IntegrityFailed, NotFound, RequestInvalid, StorageUnreachable
from ultraread.serving import cli_options as options

if TYPE_CHECKING:
    from ultraread.serving.storage.house import House
    from ultraread.serving.storage.scrub import ScrubReport

storage = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What is kept, in how many copies, until when; damage, repair and legal holds.",
)

WHO = "local"
"""Whoever may write to the data folder."""
STORED_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{26}")

Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Data folder that is meant.")]
StoredId = Annotated[str, typer.Argument(help="Id of a slide, scan record, read or case.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without it, only tell what would be done.")]


def verify(
    what: Annotated[
        str,
        typer.Argument(
            help="A slide's file, a result folder, a folder of them, a scan record's JSON, a backup, "
            "or the id of a stored slide, read or scan record."
        ),
    ],
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Hold what is named against its digests; of a slide's file, decode every pixel.

    Example: ultraread verify results/field
    """
    confirmed = _confirmed(what, config, data_dir)
    typer.echo(json.dumps({"confirmed": confirmed}) if as_json else "\n".join(confirmed))


def backup(
    to: Annotated[str, typer.Argument(help="Folder or s3://bucket/prefix; snapshots share what they can.")],
    recheck: Annotated[
        bool, typer.Option("--recheck", help="Read what is there already again, and replace what is damaged.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Back up database, slides, results and models, also while the service works.

    Example: ultraread backup /mnt/backup/ultraread
    """
    from ultraread.serving.storage.backup import Backup
    from ultraread.serving.storage.places import target_at

    with opened(config, data_dir) as house, _bar("backup") as start:
        report = Backup(house, target_at(to), recheck).make(start)
    told = (
        f"snapshot {report.snapshot}: {report.files} files, {report.bytes} bytes; "
        f"{report.copied} files of {report.copied_bytes} bytes are new"
    )
    typer.echo(json.dumps(asdict(report)) if as_json else told)
    _fail_for([f"damaged here, and not good in the backup: {path}" for path in report.damaged])


def restore(
    backup: Annotated[str, typer.Argument(help="Folder or s3://bucket/prefix of the backup.")],
    data_dir: Annotated[Path, typer.Option("--data-dir", help="Where to; empty, or not there yet.")],
    snapshot: Annotated[
        str | None, typer.Option("--snapshot", help="Which one; without it, the newest.")
    ] = None,
    config: Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Bring a backup back into an empty installation, each file held against its digest.

    Example: ultraread restore /mnt/backup/ultraread --data-dir ~/restored
    """
    from ultraread.serving.settings import load_settings
    from ultraread.serving.storage.places import target_at
    from ultraread.serving.storage.restore import Restore

    settings = load_settings(config, data_dir=data_dir)
    with _bar("restore") as start:
        report = Restore(target_at(backup), settings, WHO).run(snapshot, start)
    told = f"snapshot {report.snapshot}: {report.files} files, {report.bytes} bytes, all as their digests say"
    typer.echo(json.dumps(asdict(report)) if as_json else told)
    _fail_for([f"the backup never had a good copy of {path}" for path in report.missing])


@storage.command("ls")
def list_stored(config: Config = None, data_dir: DataDir = None, as_json: options.AsJson = False) -> None:
    """List what is kept: copies, retention, holds.

    Example: ultraread storage ls
    """
    from ultraread.serving.storage.listing import list_all

    with opened(config, data_dir) as house:
        listed = list_all(house.store)
    if as_json:
        typer.echo(json.dumps(listed))
    else:
        _print_listed(listed)


@storage.command()
def scrub(
    subset: Annotated[
        str, typer.Option("--subset", help="k/n: the k-th of n parts, 1/7 on Mondays say.")
    ] = "1/1",
    repair: Annotated[
        bool, typer.Option("--repair", help="Put the good copy in place of a damaged one.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Read every copy again and hold it against its digests; exit status 7 where damage remains.

    Example: ultraread storage scrub --subset 1/7 --repair
    """
    from ultraread.serving.storage.house import adopt
    from ultraread.serving.storage.scrub import Scrubber, check_database, share_of

    part, parts = parse_subset(subset)
    with opened(config, data_dir) as house, _bar("scrub") as start:
        adopt(house)
        scrubber = Scrubber(house, repair, WHO)
        copies = scrubber.copies(lambda row: share_of(row.id, parts) == part - 1)
        advance = start(sum(copy.stored.bytes for copy in copies))
        report = scrubber.look_at_all(copies, advance)
        wrong = check_database(house.store)
    _tell_scrub(report, wrong, as_json)
    _fail_for([*map(str, report.remaining), *wrong])
    if report.unreached:
        raise StorageUnreachable(f"not looked at: {'; '.join(report.unreached[:20])}")


@storage.command()
def expire(
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell; the same as without --yes.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove the files of slides and results whose retention is over and that nothing holds; never a record.

    Example: ultraread storage expire --dry-run
    """
    from ultraread.serving.storage import retention

    with opened(config, data_dir) as house:
        if yes and not dry_run:
            found = retention.expire(house, WHO)
        else:
            with house.store.reading() as session:
                found = retention.due(session)
    told = "removed" if yes and not dry_run else "would be removed"
    if as_json:
        typer.echo(json.dumps({told.replace(" ", "_"): [asdict(one) for one in found]}))
        return
    for one in found:
        typer.echo(f"{one.kind} {one.id}: {one.bytes} bytes, kept until {one.retain_until}, {told}")
    typer.echo(f"{len(found)} {told}")


@storage.command()
def orphans(
    yes: Yes = False, config: Config = None, data_dir: DataDir = None, as_json: options.AsJson = False
) -> None:
    """Find files of slides that were never filed, older than a day; remove them with --yes.

    Example: ultraread storage orphans
    """
    from ultraread.serving.storage.orphans import orphans as find
    from ultraread.serving.storage.orphans import remove_orphans

    with opened(config, data_dir) as house:
        found = remove_orphans(house, WHO) if yes else find(house)
    _tell_ids("removed" if yes else "orphans", found, as_json)


@storage.command()
def hold(
    subject: StoredId,
    why: Annotated[str, typer.Option("--why", help="Who ordered it and why. No patient data.")],
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Keep slides and results whatever the retention rule says, until they are released.

    Example: ultraread storage hold 01k9... --why "order 12 of the legal department"
    """
    from ultraread.serving.storage import retention
    from ultraread.serving.storage.house import adopt

    with opened(config, data_dir) as house:
        adopt(house)
        _tell_ids("held", retention.hold(house.store, subject, WHO, why), as_json)


@storage.command()
def release(
    subject: StoredId,
    why: Annotated[str, typer.Option("--why", help="Why it ends. No patient data.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """End a legal hold.

    Example: ultraread storage release 01k9... --why "case closed"
    """
    from ultraread.serving.storage import retention

    with opened(config, data_dir) as house:
        _tell_ids("released", retention.release(house.store, subject, WHO, why), as_json)


def parse_subset(text: str) -> tuple[int, int]:
    """k/n as two numbers. Raises RequestInvalid where it is none."""
    found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part <= parts:
        raise RequestInvalid(f"--subset {text} is not k/n with k from 1 to n", "Write 1/7, say.")
    return part, parts


def _confirmed(what: str, config: Path | None, data_dir: Path | None) -> list[str]:
    from ultraread.serving.storage.backup import verify_backup
    from ultraread.serving.storage.manifest import SNAPSHOTS
    from ultraread.serving.storage.places import target_at
    from ultraread.serving.verify import verify as confirm

    if is_remote(what) or (Path(what) / SNAPSHOTS).is_dir():
        return verify_backup(target_at(what))
    if not Path(what).exists() and STORED_ID.fullmatch(what):
        with opened(config, data_dir) as house:
            return _confirmed_stored(house, what)
    return confirm(Path(what))


def _confirmed_stored(house: "House", stored_id: str) -> list[str]:
    """Every copy of what is stored under this id. Raises NotFound, IntegrityFailed, StorageUnreachable."""
    from ultraread.serving.storage.house import adopt
    from ultraread.serving.storage.scrub import Scrubber

    adopt(house)
    scrubber = Scrubber(house, who=WHO)
    copies = scrubber.copies(lambda row: row.id == stored_id)
    if not copies:
        raise NotFound(
            f"nothing is stored under {stored_id}", "Check the id, or name the house by --data-dir."
        )
    report = scrubber.look_at_all(copies)
    _fail_for([str(damage) for damage in report.damages])
    if report.unreached:
        raise StorageUnreachable(f"not looked at: {'; '.join(report.unreached)}")
    return [
        f"{copy.row.kind} {copy.row.id}, {copy.row.place} copy: {len(copy.stored.files)} files as stored"
        for copy in copies
    ]


@contextmanager
def opened(config: Path | None, data_dir: Path | None) -> "Iterator[House]":
    """The house of the settings. Raises NotFound where there is none: nothing is made by looking at it."""
    from ultraread.serving.settings import load_settings
    from ultraread.serving.storage.house import House
    from ultraread.serving.store.engine import open_store

    settings = load_settings(config, data_dir=data_dir)
    if not settings.has_database:
        where = settings.data_dir
        raise NotFound(f"there is no installation in {where}", "Name another by --data-dir or --config.")
    store = open_store(settings.database_address)
    try:
        yield House(settings, store)
    finally:
        store.close()


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int], Callable[[int], None]]]:
    """A bar of bytes: called with all of them, it returns who hears of those that are done."""
    with options.progress_bars(DownloadColumn()) as progress:

        def start(total: int) -> Callable[[int], None]:
            task = progress.add_task(name, total=total)
            return lambda done: progress.advance(task, done)

        yield start


def _fail_for(damages: Sequence[str]) -> None:
    if damages:
        raise IntegrityFailed("; ".join(damages[:20]))


def _tell_scrub(report: "ScrubReport", wrong: Sequence[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**asdict(report), "database": list(wrong)}))
        return
    for damage in report.damages:
        typer.echo(str(damage))
    typer.echo(f"{report.copies} copies, {report.files} files, {report.bytes} bytes read")
    if not (report.damages or report.unreached or wrong):
        typer.echo("no damage found")


def _tell_ids(done: str, ids: Sequence[str], as_json: bool) -> None:
    typer.echo(json.dumps({done: list(ids)}) if as_json else f"{done}: {', '.join(ids) or 'nothing'}")


def _print_listed(listed: Sequence[dict[str, Any]]) -> None:
    """In 80 columns: what can be typed again, and days, are never broken."""
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("kind", "id", "bytes", "kept until (UTC)"):
        table.add_column(column, no_wrap=True)
    table.add_column("copies, holds", overflow="fold")
    for one in listed:
        until = "expired" if one["expired"] else (one["retain_until"] or "for ever")[:16].replace("T", " ")
        table.add_row(one["kind"], one["id"], str(one["bytes"]), until, escape("\n".join(_copies(one))))
    Console().print(table)


def _copies(one: dict[str, Any]) -> list[str]:
    """State of each copy, and why somebody holds them."""
    held = [f"held: {one['legal_hold']['why']}"] if one["legal_hold"] else []
    return [*(f"{place} {copy['state']}" for place, copy in one["copies"].items()), *held]
