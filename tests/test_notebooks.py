"""The notebooks run as they are committed, without a warning, and show what their lesson promises."""

import re
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from ultraread.datasets.corpora import fetch
from ultraread.errors import CorpusUnreachable

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))
SECONDS = 120

VNC = "drosophila_vnc/stack1/raw/00.tif"
VNC_UNLABELLED = "drosophila_vnc/stack2/raw/00.tif"
NEEDED = {
    "01": (
        VNC_UNLABELLED,
        "nerve_myelin/raw/HPF4-483S1-4B-6500x-1.tif",
        "kidney_tem_glomerulus/A1--0024.jpg",
        "cilia_tem/Normal_0029.jpg",
    ),
    "02": (VNC, "drosophila_vnc/stack1/mitochondria/10.png"),
    "03": (VNC, "kidney_tem_najafian/good.png"),
    "04": ("isbi2012/raw/00.png", "isbi2012/membranes/00.png"),
    "05": (VNC_UNLABELLED,),
}
SHOWN = {
    "01": (
        "states 5.962 nm/px, origin instrument_tag",
        "error[slide_no_pixel_size]",
        "error[slide_scales_disagree]",
        "error[slide_scale_out_of_range]",
    ),
    "02": ("36 steps; loss", "notebook-vnc/0.0.1, fp32", "valid: ", "thresholds: "),
    "03": ("too mild: temperature", "origin: ", "It cannot cover: ", "kidney, strange: median"),
    "04": (
        "UR-MEM auc_patch",
        "  worse\n",
        "passed  golden pair",
        "FAILED  UR-MEM on isbi2012",
        "FAILED  evaluation: it is of other weights or another card",
    ),
    "05": ("error[request_invalid]", "MY-GOLGI: indeterminate", "MY-REST: indeterminate", "heatmap.png"),
}
WARNINGS_ARE_ERRORS = """
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", module="ipykernel")  # of the kernel's own end
"""
OF_A_MACHINE = re.compile(r"(?<![\w.])/(?:home|work|tmp|root|usr|opt|mnt|srv|var|Users)/|[A-Z]:\\\\|file://")
LINK = re.compile(r"\]\(([^)\s:]+?)(?:#[^)]*)?\)")

lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


@lesson
@pytest.mark.skipif(find_spec("torch") is None, reason="needs the train extra")
def test_a_lesson_runs_without_a_warning_and_shows_what_it_promises(
    lesson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = lesson.stem[:2]
    _skip_unless_reachable(NEEDED[number])
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    executed = _execute(lesson, tmp_path)
    printed = "".join(_printed(executed))
    assert [words for words in SHOWN[number] if words not in printed] == []
    assert sum("image/png" in output.get("data", {}) for output in _outputs(executed)) > 0
    assert [output.name for output in _outputs(executed) if output.get("name") == "stderr"] == []


@lesson
def test_a_committed_lesson_has_no_outputs(lesson: Path) -> None:
    notebook = _read(lesson)
    assert list(_outputs(notebook)) == []
    assert {cell.execution_count for cell in notebook.cells if cell.cell_type == "code"} == {None}


@lesson
def test_a_committed_lesson_names_no_path_of_a_machine(lesson: Path) -> None:
    assert OF_A_MACHINE.findall(lesson.read_text()) == []


@lesson
def test_a_lesson_says_at_its_top_that_it_is_for_research_only(lesson: Path) -> None:
    notebook = _read(lesson)
    nbformat.validate(notebook)
    assert "Research use only" in notebook.cells[0].source


def test_every_lesson_is_listed_and_every_link_leads_somewhere() -> None:
    pages = {
        "README.md": (NOTEBOOKS / "README.md").read_text(),
        **{one.name: "\n".join(cell.source for cell in _read(one).cells) for one in LESSONS},
    }
    links = {name: LINK.findall(text) for name, text in pages.items()}
    assert set(links["README.md"]) >= {one.name for one in LESSONS}
    broken = {name: [one for one in found if not (NOTEBOOKS / one).exists()] for name, found in links.items()}
    assert {name: found for name, found in broken.items() if found} == {}


def _skip_unless_reachable(files: tuple[str, ...]) -> None:
    try:
        for file in files:
            fetch(file)
    except CorpusUnreachable as unreachable:
        pytest.skip(unreachable.what)


def _read(lesson: Path) -> NotebookNode:
    return nbformat.read(lesson, as_version=4)


def _execute(lesson: Path, folder: Path) -> NotebookNode:
    """The lesson with its outputs, run in `folder`, after a cell that makes warnings errors."""
    notebook = _read(lesson)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WARNINGS_ARE_ERRORS, id="warnings"))
    started = time.monotonic()

    def left(_: NotebookNode) -> int:
        """Seconds for the next cell: the limit is the whole lesson's."""
        return max(1, int(SECONDS - (time.monotonic() - started)))

    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout_func=left, kernel_name="python3", resources=resources)
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as failure:
        pytest.fail(f"{lesson.name}: {failure}", pytrace=False)
    return notebook


def _outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def _printed(notebook: NotebookNode) -> Iterator[str]:
    return (output.text for output in _outputs(notebook) if output.output_type == "stream")
