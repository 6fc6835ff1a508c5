"""Results as tables for people. The same numbers as in the JSON, with what they rest on beside them."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ultraread.datasets.quality.artefacts import RULES, Artefact

Json = dict[str, Any]
NOTICE = "[bold]Research use only.[/] Suggestions of a model to a pathologist; not a diagnosis."


def print_findings(console: Console, result: Json, title: str, scale: str, where: Sequence[str] = ()) -> None:
    """Print findings.json or case.json as a table; `scale` is told beside each finding, `where` below."""
    table = Table(title=escape(title), title_justify="left", show_lines=False)
    for column in (
        "suggested finding",
        "assertion",
        "score [95 %]",
        "area fraction [95 %]",
        "scale and origin",
    ):
        table.add_column(column, overflow="fold")
    for finding in result["findings"]:
        name = f"{finding['label']}\n[dim]{finding['code']}[/]"
        assertion = finding["assertion"].replace("_", " ")
        table.add_row(name, assertion, _score(finding), _area_fraction(finding), scale)
    console.print(table)
    console.print(_coverage(result["coverage"]), highlight=False)
    for line in _artefacts(result):
        console.print(line, style="yellow", highlight=False, markup=False)
    console.print(_model(result["model"]), highlight=False)
    for limit in result["limitations"]:
        if limit.startswith("The specimen"):
            console.print(limit, style="bold yellow", highlight=False, markup=False)
    for line in where:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(NOTICE)


def scale_in_words(slide: Json) -> str:
    """Value, tolerance, origin and, where a person stated it, the reason, of the slide's first image read."""
    read = [image for image in slide["images"] if not image.get("out_of_scope")]
    if not read:
        return "not read"
    image = read[0]
    tolerance = 100 * image["nm_per_px_tolerance"]
    told = f"{image['nm_per_px']:g} nm/px ± {tolerance:g} %\n[dim]{image['nm_per_px_origin']}"
    reason = f": {escape(image['nm_per_px_reason'])}" if image["nm_per_px_reason"] else ""
    return f"{told}{reason}[/]"


def _score(finding: Json) -> str:
    if finding["score"] is None:
        return "-"
    return f"{finding['score']:.3f}{_interval(finding['score_ci95'], '.3f')}"


def _area_fraction(finding: Json) -> str:
    measured = [one for one in finding["measurements"] if one["name"] == "area_fraction"]
    if not measured:
        return "-"
    one = measured[0]
    return f"{one['value']:.1f} %{_interval(one['ci95'], '.1f')}\n[dim]{one['n']} {one['n_of']}[/]"


def _interval(ci95: Sequence[float] | None, form: str) -> str:
    return f" [{ci95[0]:{form}}, {ci95[1]:{form}}]".replace("[", r"\[") if ci95 else ""


def _coverage(coverage: Json) -> str:
    strange = coverage.get("tiles_out_of_domain")  # results of before have none
    unlike = "" if strange is None else f"; {strange} unlike what the model was trained on"
    return (
        f"Coverage: {100 * coverage['fraction']:.1f} % of {coverage['tiles_planned']} planned tiles "
        f"({coverage['tiles_scored']} scored, {coverage['tiles_blank']} blank, "
        f"{coverage['tiles_failed']} failed), {coverage['area_um2']:.1f} um2{unlike}"
    )


def _artefacts(result: Json) -> Iterator[str]:
    """One line an artefact of a slide; of a case, one line over all its fields."""
    noted = list(result.get("quality", []))
    noted += [one for field in result.get("fields", []) for one in field.get("quality", [])]
    by_code: dict[str, list[Json]] = {}
    for note in noted:
        by_code.setdefault(note["artefact"], []).append(note)
    for code, notes in by_code.items():
        codes = dict.fromkeys(each for note in notes for each in note["suppresses"])
        suppresses = f"suppresses {', '.join(codes)} there" if codes else "suppresses no finding"
        share = 100 * max(note["area_fraction"] for note in notes)
        name, images = RULES[Artefact(code)].name, f"{len(notes)} images, " if len(notes) > 1 else ""
        yield f"Artefact: {name} ({images}up to {share:.3g} % of the area); {suppresses}"


def _model(model: Json) -> str:
    return f"Model: {model['name']}/{model['version']}  onnx sha256 {model['onnx_sha256'][:12]}…"
