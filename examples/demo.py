"""The main job on a real EM case, through the service: one read that succeeds, one that is refused.

20 fields of a fly's ventral nerve cord (drosophila_vnc/stack2) are filed as one case and read. Their files
state no pixel size, so the operator states the published one. Then a kidney field without a scale is filed,
and its read is refused. Results lie in demo-out/.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from ultraread.datasets.corpora import fetch, files_under
from ultraread.datasets.simulated import write_simulated_field
from ultraread.errors import CorpusUnreachable, InputRefused
from ultraread.serving.client import Client
from ultraread.serving.embedded import running
from ultraread.serving.report import print_findings, scale_in_words
from ultraread.serving.settings import load_settings

OUT = Path("demo-out")
MLFLOW_WAIT_S = 30


@dataclass(frozen=True)
class Demonstration:
    """What is shown: fields of one case with the scale that the operator states, and a field without one."""

    case: str
    fields: list[Path]
    specimen: str
    scale: dict[str, object]
    unscaled: Path
    told: str


def main() -> None:
    """Set the stage, read, print, refuse."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--svg", type=Path, help="also save the printed output as a picture")
    console = Console(record=True, width=118)
    svg = arguments.parse_args().svg
    demonstration = _real_fields(console) or _simulated_fields()
    shutil.rmtree(OUT, ignore_errors=True)
    with tempfile.TemporaryDirectory() as data_dir:
        settings = load_settings(None, port=0, data_dir=Path(data_dir))
        console.print("Starting Ray Serve on loopback (about 15 s)", highlight=False)
        with running(settings) as url, Client(url, token_file=settings.owner_token_file) as client:
            show_case(client, console, demonstration)
            show_refusal(client, console, demonstration)
    if svg:
        console.save_svg(str(svg), title="make demo")


def _real_fields(console: Console) -> Demonstration | None:
    """Public EM data, from the mirror or downloaded; None where neither can be reached."""
    try:
        return Demonstration(
            case="demo-drosophila-vnc",
            fields=[fetch(path) for path in files_under("drosophila_vnc/stack2/raw")],
            specimen="drosophila ventral nerve cord",
            scale={"nm_per_px": 4.6, "tolerance": 0.05, "reason": "published: figshare 856713"},
            unscaled=fetch("kidney_tem_najafian/good.png"),
            told="20 fields of a fly's ventral nerve cord (TEM, 1024 x 1024 px, drosophila_vnc/stack2)",
        )
    except CorpusUnreachable as missing:
        console.print(f"error[{missing.code}]: {missing.what}. {missing.remedy}", highlight=False)
        console.print(
            "[bold]SIMULATED fields take their place: what follows shows the software, no tissue.[/]"
        )
        return None


def _simulated_fields() -> Demonstration:
    folder = Path(tempfile.mkdtemp())
    fields = [write_simulated_field(folder / f"simulated-{n:02d}.tif", 1024, seed=n) for n in range(5)]
    return Demonstration(
        case="demo-SIMULATED",
        fields=fields[:4],
        specimen="SIMULATED texture",
        scale={"nm_per_px": 4.6, "tolerance": 0.05, "reason": "SIMULATED: chosen by the demo"},
        unscaled=fields[4],
        told="4 SIMULATED fields",
    )


def show_case(client: Client, console: Console, shown: Demonstration) -> None:
    """File the fields as one case, read it, print its findings and where everything lies."""
    console.print(f"Filing {shown.told} as case {shown.case}", highlight=False)
    client.ensure_case(shown.case)
    stated = {"case_id": shown.case, "specimen": shown.specimen, "primary_procedure": "88348"}
    slides = [client.file_slide([client.upload(field)], **stated) for field in shown.fields]
    read = client.request_read(case_id=shown.case, scale=shown.scale)
    ended = follow(client, read["id"], console)
    if ended["state"] != "succeeded":
        sys.exit(f"the read ended {ended['state']}: {ended['error']}")
    folders = client.fetch(read["id"], OUT)
    case = json.loads((OUT / "case.json").read_text())
    first = json.loads((OUT / slides[0]["id"] / "findings.json").read_text())
    where = [
        f"MLflow run: {mlflow_run(client, read['id'])}  (read {read['id']})",
        f"Heat maps: {OUT}/<slide>/heatmap.png, the first at {OUT / slides[0]['id'] / 'heatmap.png'}",
        f"Findings: {OUT / 'case.json'}, and {len(folders) - 1} slide folders beside it",
    ]
    scale = scale_in_words(first["slide"])
    print_findings(console, case, f"Case {shown.case}: {len(case['fields'])} fields", scale, where)


def show_refusal(client: Client, console: Console, shown: Demonstration) -> None:
    """File a field without a scale: it is kept and viewable, but not read."""
    console.print(f"\nA field whose file states no pixel size ({shown.unscaled.name}):", highlight=False)
    slide = client.file_slide([client.upload(shown.unscaled)])
    try:
        client.request_read(slide_ids=[slide["id"]])
    except InputRefused as refused:
        console.print(f"[bold]read refused[/] error\\[{refused.code}]: {refused.what}. {refused.remedy}")
        console.print(f"The image itself is filed: slide {slide['id']}", highlight=False)
        return
    sys.exit("a field without a scale was read; that must never happen")


def follow(client: Client, read_id: str, console: Console) -> dict[str, Any]:
    """Wait for the read with a progress bar."""
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("reading", total=None)
        return client.wait(
            read_id,
            lambda read: progress.update(
                bar, total=read["tiles_total"] or None, completed=read["tiles_done"]
            ),
        )


def mlflow_run(client: Client, read_id: str) -> str:
    """The id of the MLflow run; it follows the read by a moment, and a slow MLflow never delays a result."""
    until = time.monotonic() + MLFLOW_WAIT_S
    while time.monotonic() < until:
        if run := client.read(read_id)["mlflow_run_id"]:
            return str(run)
        time.sleep(0.2)
    return "not filed yet; it will be"


if __name__ == "__main__":
    main()
