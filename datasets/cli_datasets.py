"""`ultraread datasets`: check and split manifests of labelled data."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ultraread.datasets.check import Report
    from ultraread.datasets.manifest import Split

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check and split labelled data.")

ManifestFile = Annotated[Path, typer.Argument(help="CSV or Parquet manifest.")]
Gap = Annotated[int, typer.Option(min=0, help="Sections of one block this near belong to one split.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.command()
def check(
    manifest: ManifestFile,
    by: Annotated[str, typer.Option(help="Unit of independence: specimen or block.")] = "specimen",
    gap: Gap = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for check.md with pictures of all labels.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look for leaks between splits, broken labels, empty classes and doubtful scales. Leaks exit with 3.

    Example: ultraread datasets check fields.csv --out checked
    """
    from ultraread.datasets.check import Independence, check_manifest, refusal
    from ultraread.datasets.check_page import write_page
    from ultraread.datasets.manifest import load_manifest

    unit = Independence(_one_of(by, list(Independence), "--by"))
    report = check_manifest(load_manifest(manifest), unit, gap)
    page = str(write_page(report, out)) if out else ""
    if as_json:
        typer.echo(json.dumps(as_data(report)))
    else:
        _print(report)
    if refused := refusal(report, page):
        raise refused


@app.command()
def split(
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="CSV manifest to write.")],
    by: Annotated[str, typer.Option(help="What stays together: specimen, block or section.")] = "specimen",
    gap: Gap = 1,
    fractions: Annotated[str, typer.Option(help="Of train, calibration and test.")] = "0.6,0.2,0.2",
) -> None:
    """Assign every field to a split, the same each time. Sections too near another split are left out.

    Example: ultraread datasets split fields.csv --by section --gap 1 --out split.csv
    """
    from ultraread.datasets.manifest import load_manifest
    from ultraread.datasets.splits import Unit, split_fields, write_split

    unit = Unit(_one_of(by, list(Unit), "--by"))
    read = load_manifest(manifest)
    assignment = split_fields(read.fields, unit, parse_fractions(fractions), gap)
    write_split(read, assignment, out)
    counts = {name: sum(field.split == name for field in assignment.fields) for name in _splits()}
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    typer.echo(f"{told}; {len(assignment.left_out)} left out within {gap} sections of another split")


def parse_fractions(text: str) -> "dict[Split, float]":
    """Three numbers from 0 to 1 that sum to 1. Raises RequestInvalid."""
    from ultraread.errors import RequestInvalid

    try:
        train, calibration, test = (float(part) for part in text.split(","))
    except ValueError:
        raise RequestInvalid("--fractions takes three numbers, as 0.6,0.2,0.2") from None
    if min(train, calibration, test) < 0 or not abs(train + calibration + test - 1) < 1e-6:
        raise RequestInvalid("--fractions are from 0 to 1 and sum to 1")
    return {"train": train, "calibration": calibration, "test": test}


def as_data(report: "Report") -> dict[str, Any]:
    """What the check found, as plain data."""
    from ultraread.datasets.check import Severity

    return {
        "manifest": report.manifest.name,
        "sha256": report.manifest.sha256,
        "by": report.by,
        "gap": report.gap,
        "fields": len(report.manifest.fields),
        "is_sound": not (report.of(Severity.LEAK) or report.of(Severity.INVALID)),
        "findings": [asdict(finding) for finding in report.findings],
        "classes": [asdict(share) for share in report.shares],
        "scales": [{**asdict(spread), "ratio": spread.ratio} for spread in report.scales],
    }


def _print(report: "Report") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ultraread.datasets.check_page import percent

    console = Console()
    found = Table(title=f"{escape(report.manifest.name)} by {report.by}", title_justify="left")
    for column in ("severity", "what"):
        found.add_column(column)
    for finding in report.findings:
        found.add_row(finding.severity, escape(finding.what))
    shares = Table("class", "split", "fields", "area")
    for share in report.shares:
        shares.add_row(share.code, share.split, str(share.fields), percent(share.area_fraction))
    scales = Table("split", "fields", "min nm/px", "max nm/px", "ratio")
    for one in report.scales:
        row = (f"{one.min_nm_per_px:g}", f"{one.max_nm_per_px:g}", f"{one.ratio:.2f}")
        scales.add_row(one.split, str(one.fields), *row)
    for table in (found, shares, scales):
        if table.rows:
            console.print(table)
    if not report.findings:
        console.print("Nothing found.")


def _one_of(given: str, known: list[Any], option: str) -> str:
    from ultraread.errors import RequestInvalid

    if given not in known:
        raise RequestInvalid(f"{option} takes {', '.join(known)}; not {given}")
    return given


def _splits() -> tuple[str, ...]:
    from ultraread.datasets.manifest import SPLITS

    return SPLITS
