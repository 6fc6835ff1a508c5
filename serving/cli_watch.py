"""`ultraread watch`: file what a scanner writes into a folder."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ultraread.datasets.scale import DEFAULT_TOLERANCE
from ultraread.errors import Interrupted, RequestInvalid, SlideNotFound
from ultraread.serving import cli_options as options
from ultraread.serving.cli_client import LOCAL_URL, Url


def watch(
    folder: Annotated[Path, typer.Argument(help="Where the scanner writes.", metavar="FOLDER")],
    case: Annotated[str | None, typer.Option("--case", help="File all slides in this case.")] = None,
    settle_s: Annotated[
        float, typer.Option("--settle-s", min=0, help="Seconds without a change until a slide is taken.")
    ] = 30.0,
    done_marker: Annotated[
        bool, typer.Option("--done-marker", help="Take NAME only when there is a file NAME.done.")
    ] = False,
    model: Annotated[str | None, typer.Option("--model", help="name or name/version that is served.")] = None,
    nm_per_px: options.NmPerPx = None,
    reason: options.Reason = "",
    tolerance: options.Tolerance = DEFAULT_TOLERANCE,
    specimen: options.Specimen = "",
    no_read: Annotated[bool, typer.Option("--no-read", help="File only; no read is requested.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Stop when nothing is left in the folder.")] = False,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """File every slide that appears in a folder, and request its read; Ctrl-C stops it.

    Filed slides go to FOLDER/filed, refused ones to FOLDER/refused, each with a .json note beside it.

    Exit status 0: with --once, nothing is left, refused slides included; 2: options, token or role are wrong;
    3: there is no such folder; 5: the model is refused; 6: another watch has the folder, or no service opens
    the case; 130: Ctrl-C.

    Example: ultraread watch /scans --case C-17 --settle-s 60 --json
    """
    from ultraread.serving.client import Client
    from ultraread.serving.ingest.watch import Wanted, Watch

    stated = options.stated_scale(nm_per_px, reason, tolerance)
    if no_read and (model or stated):
        raise RequestInvalid("--no-read with options of a read", "Leave out one or the other.")
    if not folder.is_dir():
        raise SlideNotFound("there is no such folder")
    scale = {"nm_per_px": nm_per_px, "tolerance": tolerance, "reason": reason} if stated else None
    read = None if no_read else {"model": model, "scale": scale}
    wanted = Wanted(url, {"case_id": case, "specimen": specimen or None}, read)

    def tell(event: dict[str, Any]) -> None:
        typer.echo(json.dumps(event) if as_json else _in_words(event))

    with Client(url, token_file=token_file) as client:
        if case is not None:
            client.ensure_case(case)
        try:
            Watch(folder.resolve(), client, wanted, tell, settle_s, done_marker).run(once=once)
        except KeyboardInterrupt:
            raise Interrupted("stopped; what was filed is kept", "Go on with the same command.") from None


def _in_words(event: dict[str, Any]) -> str:
    """By key: names may identify somebody; the note beside the slide has the same key."""
    match event["event"]:
        case "filed":
            read = event["read_id"] or (event["read_refused"] or {}).get("code") or "none"
            return f"filed {event['key'][:12]}: slide {event['slide_id']}, read {read}"
        case "refused":
            return f"refused {event['key'][:12]}: {event['code']}"
        case "moved":
            return f"moved {event['key'][:12]}: an earlier watch had begun to"
        case _:
            return f"waiting {event['again_in_s']:g} s: {event['code']}"
