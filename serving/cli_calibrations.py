"""`ultraread calibrations`: records of a running service; and the options by which a read uses records."""

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultraread.errors import CalibrationInvalid, RequestInvalid
from ultraread.serving import cli_options as options
from ultraread.serving.cli_client import LOCAL_URL, Url

if TYPE_CHECKING:
    from ultraread.datasets.calibration import CalibrationRecord, Calibrations

CalibrationsFile = Annotated[
    Path | None,
    typer.Option(
        "--calibrations", help="CSV of calibration records; `docs/guides/scale.md` has the columns."
    ),
]


def day_of(text: str) -> dt.date:
    """YYYY-MM-DD as a day. Raises RequestInvalid where it is none."""
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC).date()
    except ValueError as failure:
        raise RequestInvalid(f"--as-of {text} is no day", "It has to be YYYY-MM-DD.") from failure


AsOf = Annotated[
    dt.date | None,
    typer.Option(
        "--as-of",
        parser=day_of,
        metavar="YYYY-MM-DD",
        help="Day by which records count where an image does not tell its own; without it, today.",
    ),
]
RecordsFile = Annotated[
    Path,
    typer.Argument(
        help="CSV with commas and a header line: microscope, camera, magnification, nm_per_px, tolerance, "
        "date (YYYY-MM-DD), standard, expires, by."
    ),
]

app = typer.Typer(no_args_is_help=True, help="Calibration records of a running service.")


@app.command("import")
def bring_in(
    file: RecordsFile,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Add the records of a CSV file, all or none; those that are there already stay as they are.

    Example: ultraread calibrations import microscopes.csv
    """
    from ultraread.serving.client import Client

    records = records_in(file)
    with Client(url, token_file=token_file) as client:
        kept = client.import_calibrations([record.model_dump(mode="json") for record in records])
    typer.echo(json.dumps(kept) if as_json else f"{len(kept)} records are kept.")


@app.command("ls")
def listed(
    url: Url = LOCAL_URL, token_file: options.TokenFile = None, as_json: options.AsJson = False
) -> None:
    """List the records, in the order in which they came.

    Example: ultraread calibrations ls
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        found = client.calibrations()
    lines = [_line(one["record"]) for one in found] or ["no calibration records"]
    typer.echo(json.dumps(found) if as_json else "\n".join(lines))


def records_in(file: Path) -> "tuple[CalibrationRecord, ...]":
    """Raises CalibrationInvalid, by row, also where there is no such file."""
    from ultraread.datasets.calibration import read_calibrations

    try:
        return read_calibrations(file.read_text(encoding="utf-8"))
    except FileNotFoundError as failure:
        raise CalibrationInvalid(f"there is no file {file}", "Check the path.") from failure
    except (OSError, UnicodeDecodeError) as failure:
        raise CalibrationInvalid(f"{file} cannot be read as text", "Check the path.") from failure


def calibrations_stated(
    file: Path | None, as_of: dt.date | None, instrument: options.StatedInstrumentOptions
) -> "Calibrations | None":
    """What a local read may use; None without records. Raises CalibrationInvalid, RequestInvalid."""
    from ultraread.datasets.calibration import Calibrations, StatedInstrument

    stated = StatedInstrument(*instrument)
    if file is None:
        if stated.is_stated or as_of:
            raise RequestInvalid(
                "an instrument or a day is stated without --calibrations", "Name the file of records."
            )
        return None
    return Calibrations(records_in(file), as_of or dt.datetime.now(dt.UTC).date(), stated)


def _line(record: dict[str, Any]) -> str:
    return (
        f"{record['microscope']}  {record['camera']}  {record['magnification']:g} x  "
        f"{record['nm_per_px']:.5g} nm/px +- {100 * record['tolerance']:g} %  {record['date']} with "
        f"{record['standard']}, expires {record['expires']}"
    )
