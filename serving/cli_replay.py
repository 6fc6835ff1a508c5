"""`ultraread replay`: a read again, from its record alone, and whether it gives the same bytes."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ultraread.errors import ReplayDiffers
from ultraread.serving import cli_options as options
from ultraread.serving.cli_storage import WHO, Config, DataDir, opened

if TYPE_CHECKING:
    from ultraread.serving.replay import Replay

SHOWN = 20


def replay(
    read_id: Annotated[str, typer.Argument(help="Id of a read that has a result.")],
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Run a read again in this process, and say whether every byte is the same, or where it differs.

    Exit status 0: identical; 7: it differs, or what is stored is damaged; 3: slide, model or result is gone.

    Example: ultraread replay 01k9...
    """
    from ultraread.serving.replay import Replayer, open_registered

    with opened(config, data_dir) as house:
        replayed = Replayer(house, lambda row: open_registered(house, row), WHO).replay(read_id)
    if as_json:
        typer.echo(json.dumps({**asdict(replayed), "is_identical": replayed.is_identical}))
    else:
        _tell(replayed)
    if not replayed.is_identical:
        names = sorted({one.file for one in replayed.differences} | set(replayed.damaged))
        raise ReplayDiffers(f"read {read_id} differs in {', '.join(names[:SHOWN])}")


def _tell(replayed: "Replay") -> None:
    for name in replayed.damaged:
        typer.echo(f"{name}: damaged; it is not what was stored")
    for one in replayed.differences:
        apart = "" if one.size is None else f", {one.size:.3g} apart"
        count = "" if one.count is None else f", {one.count} values in this channel"
        typer.echo(f"{one.file}: {one.where}: stored {one.stored!r}, again {one.again!r}{apart}{count}")
    for change in replayed.changes:
        typer.echo(f"since then, {change.what} is {change.again!r}; it was {change.stored!r}")
    if replayed.is_identical:
        typer.echo(f"read {replayed.read_id}: {replayed.files} files, byte-identical but for times and ids")
