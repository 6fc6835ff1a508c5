"""`ultraread submit`, `status`, `fetch` and `cancel`: talk to a running service."""

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
from ultraread.datasets.slide_address import SlideAddress, SlidePlace, address_of
from ultraread.datasets.stored_file import is_remote
from ultraread.errors import InputRefused, UrlNotAllowed
from ultraread.serving import cli_options as options
from ultraread.serving.record_words import record_of_file, with_options

if TYPE_CHECKING:
    from ultraread.serving.client import Client

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
    wait: Annotated[bool, typer.Option("--wait", help="Follow the read to its end.")] = False,
    url: Url = LOCAL_URL,
    as_json: options.AsJson = False,
) -> None:
    """File slides with a running service and request a read; prints the read's id.

    A slide that may not be read stays filed and viewable. Several slides are one read.

    Example: ultraread submit a.tif b.tif --case C-17 --nm-per-px 4.6 --reason "calibrated" --wait
    """
    from ultraread.serving.client import Client

    stated = options.stated_scale(nm_per_px, reason, tolerance)
    box = options.parse_region(region)
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
    with Client(url) as client:
        if case is not None:
            client.ensure_case(case)
        record = with_options(record_of_file(record_file), fields) | {
            "case_id": case,
            "identity": _identity_body(identity, identity_reason),
        }
        filed = _file(client, slides, record)
        if not as_json:
            _tell_records(filed)
        read = client.request_read(
            slide_ids=None if case is not None else [str(slide["id"]) for slide in filed],
            case_id=case,
            model=model,
            region=asdict(box) if box else None,
            scale=_scale_body(stated),
            instrument=_instrument_body(microscope, camera, magnification),
            contrast_confirmed=contrast_confirmed or None,
        )
        if wait:
            read = _follow(client, read["id"])
        if as_json:  # a refusal is the only thing on stderr then
            _tell_records(filed)
        typer.echo(f"Then: ultraread fetch {read['id']} --out FOLDER", err=True)
        _tell(read, as_json)


def status(read_id: ReadId, url: Url = LOCAL_URL, as_json: options.AsJson = False) -> None:
    """Tell where a read stands.

    Example: ultraread status 01J8Z...
    """
    from ultraread.serving.client import Client

    with Client(url) as client:
        _tell(client.read(read_id), as_json)


def fetch(read_id: ReadId, out: options.Out, url: Url = LOCAL_URL, as_json: options.AsJson = False) -> None:
    """Fetch the result folders of a read that has ended.

    Example: ultraread fetch 01J8Z... --out results
    """
    from ultraread.serving.client import Client

    with Client(url) as client:
        folders = [str(path) for path in client.fetch(read_id, out)]
    typer.echo(json.dumps({"fetched": folders}) if as_json else "\n".join(folders))


def cancel(read_id: ReadId, url: Url = LOCAL_URL, as_json: options.AsJson = False) -> None:
    """Ask the service to stop a read.

    Example: ultraread cancel 01J8Z...
    """
    from ultraread.serving.client import Client

    with Client(url) as client:
        read = client.cancel(read_id)
    told = "" if read["state"] in EXIT_STATUS else ", stop requested"
    typer.echo(json.dumps(read) if as_json else f"{read['id']}: {read['state']}{told}")


def _tell_records(filed: Sequence[Json]) -> None:
    """Before a read is asked for: where it is refused, the records are there all the same."""
    for slide in filed:
        typer.echo(f"Record: ultraread records show {slide['scan_record_id']}", err=True)


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


def _file(client: "Client", slides: Sequence[SlidePlace], record: Json) -> list[Json]:
    """Upload and file each slide, one of several files whole; nothing is sent unless all are there."""
    addresses = [_local(slide) for slide in slides]
    with options.progress_bars() as progress:
        task = progress.add_task("filing", total=sum(map(_bytes, addresses)))
        filed = []
        for number, address in enumerate(addresses, start=1):
            uploads = []
            for file in address.files:
                uploads.append(client.upload(Path(file.location), file_name=file.name))
                progress.advance(task, Path(file.location).stat().st_size)
            with _of_slide(number, len(slides)):
                filed.append(client.file_slide(uploads, **record))
        return filed


def _local(slide: SlidePlace) -> SlideAddress:
    """The files of a slide. Raises SlideNotFound, and UrlNotAllowed for those of an object store."""
    address = address_of(slide)
    if any(is_remote(file.location) for file in address.files):
        raise UrlNotAllowed(
            "a slide in an object store is not sent", "Read it there: ultraread read s3://..."
        )
    return address


def _bytes(address: SlideAddress) -> int:
    return sum(Path(file.location).stat().st_size for file in address.files)


@contextmanager
def _of_slide(number: int, slides: int) -> Iterator[None]:
    """Say which slide was refused, by its place: its name may identify somebody."""
    try:
        yield
    except InputRefused as refused:
        raise type(refused)(f"slide {number} of {slides}: {refused.what}", refused.remedy) from refused


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
