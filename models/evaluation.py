"""What `ultraread evaluate` found out about a model: figures a data set, robustness, and comparisons.

`evaluation.json` lies beside the card or where the evaluator put it; a promotion rests on it.
"""

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from ultraread.errors import EvaluationInvalid
from ultraread.models.card import CardPart, Fraction, Interval, Sha256

EVALUATION_FILE = "evaluation.json"


class Verdict(StrEnum):
    """What a paired 95 % interval of a difference says: it lies above 0, below 0, or holds 0."""

    BETTER = "better"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"


class Figure(CardPart):
    """One figure of one class on one data set, with its bootstrap interval over fields."""

    metric: str = Field(
        description="auc_tile, auc_patch, average_precision, f1, dice, ece, area_error_points"
    )
    code: str = Field(description="Class code; empty where the figure is of no single class.")
    value: float
    ci95: Interval
    n: int
    n_of: str


class DerivedField(CardPart):
    """A derived measurement of one field: as a read gives it with its interval, and by the masks."""

    name: str
    field: str
    value: float
    ci95: Interval
    true: float


class FieldFigure(CardPart):
    """One figure of one class on one field; a single field gives no interval."""

    field: str
    metric: str
    code: str
    value: float


class SetFigures(CardPart):
    """All figures on one data set."""

    dataset: str
    manifest_sha256: Sha256
    specimens: tuple[str, ...]
    laboratories: tuple[str, ...]
    fields: int
    seen_in_training: bool = Field(description="True: these figures show memory, not performance.")
    figures: tuple[Figure, ...]
    by_field: tuple[FieldFigure, ...] = ()
    derived: tuple[DerivedField, ...] = ()


class RobustnessRow(CardPart):
    """Figures on a data set whose images were changed by one artefact at one strength."""

    dataset: str
    artefact: str
    strength: float
    unit: str
    figures: tuple[Figure, ...]


class Comparison(CardPart):
    """This model minus another one on the same fields, with the interval of the paired difference."""

    against: str = Field(description="name/version of the other model.")
    against_onnx_sha256: Sha256
    dataset: str
    metric: str
    code: str
    difference: float
    ci95: Interval
    verdict: Verdict


class Evaluation(CardPart):
    """The whole file."""

    schema_version: Literal["1"] = "1"
    research_use_only: Literal[True] = True
    model: str = Field(description="name/version.")
    onnx_sha256: Sha256
    card_sha256: Sha256
    abstention_rule: str
    abstention_rate: Fraction | None = None
    machine: str
    sets: tuple[SetFigures, ...]
    robustness: tuple[RobustnessRow, ...] = ()
    comparisons: tuple[Comparison, ...] = ()


def load_evaluation(file: Path) -> Evaluation:
    """Read an evaluation. Raises EvaluationInvalid where it is missing or does not follow its type."""
    try:
        return Evaluation.model_validate_json(file.read_bytes())
    except FileNotFoundError as missing:
        raise EvaluationInvalid(f"there is no evaluation {file.name}") from missing
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvaluationInvalid(f"{file.name}: {where}: {first['msg']}") from invalid


def write_evaluation(evaluation: Evaluation, file: Path) -> None:
    """Write the evaluation, indented for people."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(evaluation.model_dump_json(indent=2) + "\n")
