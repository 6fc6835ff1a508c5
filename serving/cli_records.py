"""`ultraread records`: look at scan records of a running service, fill, review and link them."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultraread.errors import RequestInvalid
from ultraread.serving import cli_options as options
from ultraread.serving.cli_client import LOCAL_URL, Url
from ultraread.serving.record_words import patch_of

if TYPE_CHECKING:
    from ultraread.serving.client import Client

Json = dict[str, Any]
RecordId = Annotated[str, typer.Argument(help="The scan record's id; filing a slide tells it.")]
Who = Annotated[str, typer.Option("--who", help="Your name: it stands in the record.")]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Scan records of a running service: what was digitized, how, why, and what that supports.",
)


@app.command()
def ls(
    case: Annotated[str | None, typer.Option("--case", help="Only those of this case.")] = None,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """List records, newest first: id, case, slide, accession, what was digitized.

    Example: ultraread records ls --case C-17
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        found = [one for one in _all(client) if case in {None, one["case_id"]}]
    typer.echo(json.dumps(found) if as_json else "\n".join(_listed(found)))


@app.command()
def show(
    record_id: RecordId,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what is known of a digitization; what nobody stated is left out.

    Example: ultraread records show 01J8Z...
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        record = client.scan_record(record_id)
    typer.echo(json.dumps(record) if as_json else "\n".join(_lines(record)))


@app.command("set")
def set_fields(
    record_id: RecordId,
    fields: Annotated[
        list[str], typer.Argument(metavar="FIELD=VALUE...", help="Inner fields by dots; no value takes away.")
    ],
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """State fields of a record. A record that is changed after its quality review has none any more.

    Example: ultraread records set 01J8Z... accession=S26-1 digitized.purpose=primary block=
    """
    from ultraread.serving.client import Client

    patch = patch_of(fields)
    with Client(url, token_file=token_file) as client:
        seen = client.scan_record(record_id)
        _tell_change(client.change_scan_record(record_id, patch, seen["revision"]), as_json)


@app.command()
def review(
    record_id: RecordId,
    who: Who,
    why: Annotated[str, typer.Option("--why", help="What you compared, or what is wrong.")],
    complete: Annotated[
        bool, typer.Option("--complete/--not-complete", help="Complete and accurate, or not.")
    ],
    revision: Annotated[
        int | None, typer.Option("--revision", help="The revision that you looked at; default: the last.")
    ] = None,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Sign a record as complete and accurate, or as not.

    Example: ultraread records review 01J8Z... --who "A. Reviewer" --complete --why "compared"
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        seen = client.scan_record(record_id)["revision"] if revision is None else revision
        signed = {"who": who, "complete": complete, "why": why}
        _tell_change(client.review_scan_record(record_id, signed, seen), as_json)


@app.command()
def consult(
    record_id: RecordId,
    who: Who,
    of: Annotated[str, typer.Option("--of", help="Who is asked.")],
    question: Annotated[str, typer.Option("--question", help="What is asked.")],
    further_analysis: Annotated[
        bool, typer.Option("--further-analysis", help="More work is asked for, not an opinion.")
    ] = False,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Note in a record who was asked what.

    Example: ultraread records consult 01J8Z... --who "A. One" --of "B. Two" --question "Fibrils?"
    """
    from ultraread.serving.client import Client

    kind = "further_analysis" if further_analysis else "consultation"
    asked = {"asked_by": who, "asked_of": of, "question": question, "kind": kind}
    with Client(url, token_file=token_file) as client:
        told = client.consult(record_id, asked)
        _tell_change(told, as_json, f"; consultation {told['consultations'][-1]['id']}")


@app.command()
def answer(
    record_id: RecordId,
    consultation_id: Annotated[str, typer.Argument(help="The consultation's id, as the record shows it.")],
    who: Who,
    text: Annotated[str, typer.Option("--text", help="The answer.")],
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Note the answer to a consultation, once.

    Example: ultraread records answer 01J8Z... 01J90... --who "B. Two" --text "No fibrils in these fields"
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        told = client.answer_consultation(record_id, consultation_id, {"who": who, "text": text})
        _tell_change(told, as_json)


@app.command()
def link(
    record_id: RecordId,
    who: Who,
    region: Annotated[str, typer.Option("--region", metavar="X,Y,W,H", help="In level-0 pixels.")],
    image: Annotated[int, typer.Option("--image", help="Image of the record's slide.")] = 0,
    grid: Annotated[str | None, typer.Option("--grid", help="Name of the grid cut of the region.")] = None,
    to_slide: Annotated[
        str | None, typer.Option("--slide", help="Id of the slide that shows the region.")
    ] = None,
    to_image: Annotated[int, typer.Option("--to-image", help="Image of that slide.")] = 0,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Link a region of a slide to the grid that was cut of it, or to a field that shows it.

    Example: ultraread records link 01J8Z... --who "A. One" --region 400,300,200,200 --grid A1-G1
    """
    from ultraread.serving.client import Client

    if (grid is None) == (to_slide is None):
        raise RequestInvalid("a link leads to a grid or to a slide", "Give --grid or --slide, one of them.")
    with Client(url, token_file=token_file) as client:
        record = client.scan_record(record_id)
        new = _link(record["slide_id"], image, region, who)
        new |= _leads_to_grid(grid) if grid is not None else _leads_to_field(to_slide, to_image)
        links = {"links": [*record["links"], new]}
        _tell_change(client.change_scan_record(record_id, links, record["revision"]), as_json)


@app.command()
def billing(
    record_id: RecordId,
    url: Url = LOCAL_URL,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Tell what a record supports for 0856T, rule by rule. A coder decides.

    Example: ultraread records billing 01J8Z...
    """
    from ultraread.serving.client import Client

    with Client(url, token_file=token_file) as client:
        support = client.billing_support(record_id)
    typer.echo(json.dumps(support) if as_json else _support_lines(support))


def _listed(records: list[Json]) -> list[str]:
    """A line a record under a heading, never wrapped: an id that is broken cannot be typed."""
    if not records:
        return ["no scan records"]
    rows = [["record", "case", "slide", "accession", "digitized"]]
    for one in records:
        known = one["id"], one["case_id"], one["slide_id"], one["accession"], one["digitized"]["object"]
        rows.append([value or "-" for value in known])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _all(client: "Client") -> Iterator[Json]:
    cursor = None
    while True:
        part = client.scan_records(cursor)
        yield from part["items"]
        if (cursor := part["next_cursor"]) is None:
            return


def _link(slide_id: str, image: int, region: str, who: str) -> Json:
    box = options.parse_region(region)
    if box is None:
        raise RequestInvalid("a link needs --region")
    box_px = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
    return {"from": {"slide_id": slide_id, "image": image, "box_px": box_px}, "who": who}


def _leads_to_grid(grid: str) -> Json:
    return {"to": {"grid_id": grid}, "relation": "region_on_grid"}


def _leads_to_field(slide_id: str | None, image: int) -> Json:
    return {"to": {"slide_id": slide_id, "image": image}, "relation": "field_of_region"}


def _tell_change(record: Json, as_json: bool, more: str = "") -> None:
    signed = "reviewed" if record["quality_review"] else "no quality review stands"
    line = f"{record['id']}: revision {record['revision']}, {signed}{more}"
    typer.echo(json.dumps(record) if as_json else line)


def _lines(value: object, name: str = "") -> list[str]:
    """`field: value` for everything that is known, inner fields by dots."""
    if value in (None, "", [], {}):
        return []
    if isinstance(value, dict):
        return [line for key in value for line in _lines(value[key], f"{name}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [line for index, each in enumerate(value) for line in _lines(each, f"{name}.{index}")]
    return [f"{name}: {value}"]


def _support_lines(support: Json) -> str:
    """What decides first."""
    order = ("does_not_support", "ask_coder", "supports")
    reasons = sorted(support["reasons"], key=lambda reason: order.index(reason["answer"]))
    told = [
        f"{reason['answer']:<17} {reason['rule']}: {reason['why']}\n{'':<18}{reason['source']}"
        for reason in reasons
    ]
    return "\n".join([f"{support['code']}: {support['answer']}", *told, support["note"]])
