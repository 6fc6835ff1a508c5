"""The documentation says what the code does: links, codes, commands, settings, dependencies."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from ultraread.cli import app
from ultraread.errors import InputRefused, ModelRefused, ReadFailed, UltraReadError, every_error
from ultraread.models.card import ModelCard
from ultraread.models.registry import DEFAULT_MODEL, find_model
from ultraread.serving.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ROOT / "docs" / "guides"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CROSS_VALIDATED = "drosophila_vnc, cross-validated"
ACCURACY_ROWS = {
    "auc_tile": "AUC per 128 px tile",
    "auc_served_tile": "AUC per served tile of 224 px",
    "auc_patch": "AUC per patch of 16 px",
    "area_fraction_difference_points": "area fraction, predicted minus true, in points",
    "ece_area": "calibration error of patches (ECE)",
}

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"(?:^|\s)ultraread ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")
CODE_IN_TABLE = re.compile(r"^\| `([a-z_]+)` \|.*\| (\d+) \|$", re.MULTILINE)
CODE_IN_TEXT = re.compile(r"error\[([a-z_]+)\]")

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@page
def test_every_relative_link_leads_to_a_file_and_heading_that_exist(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text()) if not _is_web(link) and not _leads(page, link)]
    assert broken == []


@page
def test_every_error_code_exists_with_its_exit_status(page: Path) -> None:
    text, known = page.read_text(), {error.code: error.exit_status for error in every_error()}
    tabled = {code: int(status) for code, status in CODE_IN_TABLE.findall(text)}
    assert {code: known.get(code) for code in tabled} == tabled
    assert [code for code in CODE_IN_TEXT.findall(text) if code not in {*known, "code"}] == []


@page
def test_every_command_exists(page: Path) -> None:
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    named = _commands_named(page.read_text())
    unknown = [(name, sub) for name, sub in named if not _knows(root, name, sub)]
    assert unknown == []


@page
def test_every_request_of_an_example_shows_a_token_that_the_example_says_where_to_find(page: Path) -> None:
    text = page.read_text()
    requests = re.findall(r"\bcurl (?:.*\\\n)*.*", "\n".join(CODE_BLOCK.findall(text)))
    assert [one for one in requests if '-H "$AUTH"' not in one] == []
    assert not requests or 'AUTH="Authorization: Bearer $' in text


@pytest.mark.parametrize("family", [InputRefused, ModelRefused, ReadFailed])
def test_the_reading_guide_lists_every_refusal_in_its_own_words(family: type[UltraReadError]) -> None:
    guide = (GUIDES / "read.md").read_text()
    refusals = [error for error in every_error(family) if not error.__subclasses__()]
    assert refusals
    assert [row for row in map(_error_row, refusals) if row not in guide] == []


def test_the_serving_guide_lists_every_setting_in_its_own_words() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (.+) \|$", (GUIDES / "serve.md").read_text(), re.MULTILINE)
    settings = {(name, field.description) for name, field in Settings.model_fields.items()}
    missing = settings - set(rows)
    assert missing == set()


def test_the_decision_on_dependencies_names_each_with_its_bound() -> None:
    decision = (ROOT / "docs" / "adr" / "0004-dependencies.md").read_text()
    listed = set(re.findall(r"^\| `([^`]+)` \| (\S+) \|", decision, re.MULTILINE))
    assert set(_dependencies()) == listed


@pytest.mark.parametrize("told", [ROOT / "README.md", GUIDES / "train.md"], ids=lambda path: path.name)
def test_the_accuracy_table_shows_the_figures_of_the_newest_model_s_card(told: Path) -> None:
    card = find_model(DEFAULT_MODEL).card
    rows = [_accuracy_row(card, metric, words) for metric, words in ACCURACY_ROWS.items()]
    assert [row for row in rows if row not in told.read_text()] == []


def _accuracy_row(card: ModelCard, metric: str, words: str) -> str:
    """One cell a class, in the card's order."""
    digits = 2 if metric.endswith("points") else 3
    found = {one.code: one for one in card.metrics if (one.dataset, one.metric) == (CROSS_VALIDATED, metric)}
    values = [
        f"{one.value:.{digits}f} [{one.ci95[0]:.{digits}f}, {one.ci95[1]:.{digits}f}]"
        for one in (found[each.code] for each in card.classes)
    ]
    return f"| {words} | " + " | ".join(values) + " |"


def _is_web(link: str) -> bool:
    return link.startswith(("https://", "http://", "mailto:"))


def _leads(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in _anchors(target.read_text()))


def _anchors(text: str) -> set[str]:
    """Headings as GitHub turns them into anchors."""
    headings = HEADING.findall(CODE_BLOCK.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def _commands_named(text: str) -> Iterator[tuple[str, str]]:
    blocks = CODE_BLOCK.findall(text)
    for code in [*blocks, *INLINE_CODE.findall(CODE_BLOCK.sub("", text))]:
        for line in code.splitlines():
            yield from COMMAND.findall(line.partition("#")[0])


def _knows(root: TyperGroup, name: str, sub: str) -> bool:
    command = root.commands.get(name)
    if isinstance(command, TyperGroup):
        return not sub or sub in command.commands
    return command is not None


def _error_row(error: type[UltraReadError]) -> str:
    title = (error.__doc__ or "").strip().split("\n")[0]
    return f"| `{error.code}` | {title} | {error.remedy} | {error.exit_status} |"


def _dependencies() -> Iterator[tuple[str, str]]:
    """Name (with extras) and bound of each direct dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    looked_with = (ROOT / "requirements" / "audit.txt").read_text().splitlines()
    apart = [line for line in looked_with if not line.startswith("#")]
    for listed in (project["dependencies"], *project["optional-dependencies"].values(), apart):
        for requirement in listed:
            name = re.match(r"[A-Za-z0-9._-]+(?:\[[^\]]+\])?", requirement)
            assert name is not None
            yield name.group(), requirement[name.end() :]
