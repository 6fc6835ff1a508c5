"""`ultraread submit`, `status`, `fetch` and `cancel`: talk to a running service."""

import datetime as dt
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultraread.datasets.identity.found import IdentityPolicy
from ultraread.datasets.identity.policy import PolicyOption, PolicyReason, identity_stated
from ultraread.datasets.scale import DEFAULT_TOLERANCE, StatedScale
from ultraread.errors import RequestInvalid, UltraReadError
from ultraread.serving import cli_options as options
from ultraread.serving.record_words import not_as_stated, record_of_file, with_options

if TYPE_CHECKING:
    from ultraread.serving.client import Client, Filed

Url = Annotated[str, typer.Option("--url", envvar="ULTRAREAD_URL", help="Where the service answers.")]
ReadId = Annotated[str, typer.Argument(help="The read's id, as `submit` printed it.")]
LOCAL_URL = "http://127.0.0.1:8000"
EXIT_STATUS = {"succeeded": 0, "partial": 4, "failed": 8, "cancelled": 8}
Json = dict[str, Any]


def submit(
    slides: options.Slides,
    case: Annotated[
        str | None, typer.Option("--case", help="File the slides as fields of this case.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="name or name/version that is served.")] = None,
    nm_per_px: options.NmPerPx = None,
    reason: options.Reason = "",
    tolerance: options.Tolerance = DEFAULT_TOLERANCE,
    region: options.Region = None,
    specimen: options.Specimen = "",
    contrast_confirmed: options.ContrastConfirmed = "",
    accession: Annotated[
        str | None, typer.Option("--accession", help="Accession number of the case.")
    ] = None,
    primary_procedure: Annotated[
        str | None, typer.Option("--primary-procedure", help="CPT code of the primary service, e.g. 88348.")
    ] = None,
    date_of_service: Annotated[
        str | None, typer.Option("--date-of-service", help="Of the primary service, YYYY-MM-DD.")
    ] = None,
    block: Annotated[str | None, typer.Option("--block", help="Tissue block.")] = None,
    grid_or_slide_id: Annotated[
        str | None, typer.Option("--grid-or-slide", help="Name of the grid or glass slide.")
    ] = None,
    digitized: Annotated[
        str | None, typer.Option("--digitized", help="semithin_glass, grid, film or prior_file.")
    ] = None,
    capture_mode: Annotated[
        str | None, typer.Option("--capture-mode", help="whole_slide, live_view, montage or static.")
    ] = None,
    purpose: Annotated[
        str | None,
        typer.Option(
            "--purpose",
            help="primary, second_read, archive, education, research, database, conference or qa.",
        ),
    ] = None,
    record_file: Annotated[
        Path | None, typer.Option("--record", help="JSON file with any fields of the scan record.")
    ] = None,
    identity: PolicyOption = None,
    identity_reason: PolicyReason = "",
    microscope: options.Microscope = "",
    camera: options.Camera = "",
    magnification: options.Magnification = None,
    urgent: Annotated[bool, typer.Option("--urgent", help="Before all routine reads.")] = False,
    finish_by: Annotated[
        dt.datetime | None,
        typer.Option("--finish-by", help="When nobody needs the read any more, in this machine's time."),
    ] = None,
    no_read: Annotated[bool, typer.Option("--no-read", help="File only; no read is requested.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the read to its end.")] = False,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """File slides with a running service and request a read; prints the read's id.

    A slide that may not be read stays filed and viewable. Several slides are one read. With --no-read slides
    are filed only, and the ids of slides and records are printed.

    Example: ultraread submit a.tif b.tif --case C-17 --nm-per-px 4.6 --reason "calibrated" --wait
    """
    from ultraread.serving.client import Client
    from ultraread.serving.sending import send

    stated = options.stated_scale(nm_per_px, reason, tolerance)
    box = options.parse_region(region)
    instrument = _instrument_body(microscope, camera, magnification)
    if no_read and any((model, stated, box, instrument, contrast_confirmed, urgent, finish_by, wait)):
        raise RequestInvalid("--no-read with options of a read", "Leave out one or the other.")
    fields = {
        "accession": accession,
        "primary_procedure": primary_procedure,
        "date_of_service": date_of_service,
        "specimen": specimen or None,
        "block": block,
        "grid_or_slide_id": grid_or_slide_id,
        "digitized.object": digitized,
        "digitized.capture_mode": capture_mode,
        "digitized.purpose": purpose,
    }
    record = with_options(record_of_file(record_file), fields)
    record |= {"identity": _identity_body(identity, identity_reason)}
    filed: list[Filed] = []
    with Client(url, token_file=token_file) as client:
        if case is not None:
            client.ensure_case(case)
        with _told_where_refused(client, filed, record, as_json):
            send(client, slides, record | {"case_id": case}, filed.append)
            if no_read:
                _tell_not_applied(client, filed, record)
                _tell_filed(filed, as_json)
                return
            read = client.request_read(
                slide_ids=None if case is not None else [str(one.slide["id"]) for one in filed],
                case_id=case,
                model=model,
                region=asdict(box) if box else None,
                scale=_scale_body(stated),
                instrument=instrument,
                contrast_confirmed=contrast_confirmed or None,
                policy=_policy_body(urgent, finish_by),
            )
        _tell_records(filed)
        _tell_not_applied(client, filed, record)
        if wait:
            read = _follow(client, read["id"])
        typer.echo(f"Then: ultraread fetch {read['id']} --out FOLDER", err=True)
        _tell(read, as_json)


def _policy_body(urgent: bool, finish_by: dt.datetime | None) -> Json:
    stated = {"priority": "urgent"} if urgent else {}
    return stated | ({"finish_by": finish_by.astimezone().isoformat()} if finish_by else {})


def status(
    read_id: ReadId,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Tell where a read stands.

    Example: ultraread status 01J8Z...
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        _tell(client.read(read_id), as_json)


def fetch(
    read_id: ReadId,
    out: options.Out,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Fetch the result folders of a read that has ended.

    Example: ultraread fetch 01J8Z... --out results
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        folders = [str(path) for path in client.fetch(read_id, out)]
    typer.echo(json.dumps({"fetched": folders}) if as_json else "\n".join(folders))


def cancel(
    read_id: ReadId,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Ask the service to stop a read.

    Example: ultraread cancel 01J8Z...
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        read = client.cancel(read_id)
    told = "" if read["state"] in EXIT_STATUS else ", stop requested"
    typer.echo(json.dumps(read) if as_json else f"{read['id']}: {read['state']}{told}")


@contextmanager
def _told_where_refused(
    client: "Client", filed: Sequence["Filed"], record: Json, as_json: bool
) -> Iterator[None]:
    """What was filed before a refusal is there all the same; with --json it is told on stdout."""
    try:
        yield
    except (UltraReadError, KeyboardInterrupt):
        if as_json and filed:
            _tell_filed(filed, as_json)
        elif not as_json:
            _tell_records(filed)
            _tell_not_applied(client, filed, record)
        raise


def _tell_filed(filed: Sequence["Filed"], as_json: bool) -> None:
    """Ids in the order of the arguments, on stdout."""
    ids = [
        {
            "slide_id": one.slide["id"],
            "scan_record_id": one.slide["scan_record_id"],
            "was_there": not one.is_new,
            "same_as": one.same_as,
        }
        for one in filed
    ]
    lines = "\n".join(f"slide {each['slide_id']}, record {each['scan_record_id']}" for each in ids)
    typer.echo(json.dumps({"filed": ids}) if as_json else lines)


def _tell_records(filed: Sequence["Filed"]) -> None:
    """By the place among the arguments: names may identify somebody."""
    for number, (slide, *_) in enumerate(filed, start=1):
        record = f"ultraread records show {slide['scan_record_id']}"
        typer.echo(f"Slide {number} is {slide['id']}: {record}", err=True)


def _tell_not_applied(client: "Client", filed: Sequence["Filed"], record: Json) -> None:
    """A slide that the case has stays as it is: what was stated otherwise now is nowhere."""
    for number, (slide, is_new, same_as) in enumerate(filed, start=1):
        record_id = slide["scan_record_id"]
        if same_as is not None:
            typer.echo(f"Slide {number} has the bytes of slide {same_as}: both are filed once", err=True)
        elif not is_new:
            told = f"Slide {number}: already filed in this case as record {record_id}"
            typer.echo(f"{told}{_not_applied(client, slide, record)}", err=True)


def _not_applied(client: "Client", slide: Json, record: Json) -> str:
    """What follows a semicolon; where the record cannot be seen, that: what was requested counts."""
    record_id = slide["scan_record_id"]
    try:
        there = client.scan_record(record_id) | {"identity": slide["identity"]}
    except UltraReadError as refused:
        return f"; what it says cannot be seen: error[{refused.code}]"
    fields = ", ".join(not_as_stated(record, there))
    change = f"; not applied: {fields}; see `ultraread records set {record_id} FIELD=VALUE`"
    return change if fields else ""


def _instrument_body(microscope: str, camera: str, magnification: float | None) -> Json | None:
    if not (microscope or camera or magnification):
        return None
    return {"microscope": microscope, "camera": camera, "magnification": magnification}


def _scale_body(stated: StatedScale | None) -> Json | None:
    if stated is None:
        return None
    return {"nm_per_px": stated.x_nm_per_px, "tolerance": stated.tolerance, "reason": stated.reason}


def _identity_body(policy: IdentityPolicy | None, reason: str) -> Json | None:
    stated = identity_stated(policy, reason)
    return {"policy": stated.policy, "reason": stated.reason or None} if stated.is_stated else None


def _follow(client: "Client", read_id: str) -> Json:
    with options.progress_bars() as progress:
        task = progress.add_task("reading", total=None)

        def show(read: Json) -> None:
            progress.update(task, total=read["tiles_total"] or None, completed=read["tiles_done"])

        return client.wait(read_id, show)


def _tell(read: Json, as_json: bool) -> None:
    """Print the read; the exit status is that of its end, 0 while it goes on."""
    if as_json:
        typer.echo(json.dumps(read))
    else:
        error = f"  error[{read['error']['code']}]: {read['error']['detail']}" if read["error"] else ""
        typer.echo(f"{read['id']}: {read['state']}{error}")
    sys.stdout.flush()
    raise typer.Exit(EXIT_STATUS.get(read["state"], 0))
