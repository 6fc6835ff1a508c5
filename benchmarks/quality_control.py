"""How well artefacts are found: two generators over real fields, and every real field as it is.

Generator A (`formulas.py`) and the data sets of TUNED_ON chose the limits; what is reported is generator B
(`optics.py`) over other data sets. Prints Markdown tables; writes them and every trial as JSON into --out.

    python benchmarks/quality_control.py --fields 4 --out runs/quality_control
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ultraread.datasets.quality.evaluation import report
from ultraread.datasets.quality.evaluation.formulas import GENERATOR_A
from ultraread.datasets.quality.evaluation.optics import GENERATOR_B
from ultraread.datasets.quality.evaluation.trials import (
    OTHERS,
    REPORTED_ON,
    TUNED_ON,
    clean_fields,
    inverted_found,
    pairs,
    trials,
)

ALL = TUNED_ON | REPORTED_ON | OTHERS


def main() -> None:
    """Run all trials, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--fields", type=int, default=4, help="fields of each data set that artefacts are laid over"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/quality_control"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    raw: dict[str, object] = {}
    text = "\n\n".join(_sections(arguments.fields, raw))
    (arguments.out / "quality_control.md").write_text(text + "\n")
    (arguments.out / "quality_control.json").write_text(json.dumps(raw, indent=1, default=str) + "\n")
    print(text)


def _sections(fields: int, raw: dict[str, object]) -> Iterator[str]:
    """Each table under its heading; `raw` takes what they were made of."""
    reported = list(trials(GENERATOR_B, REPORTED_ON, fields))
    raw["generator_b"] = [asdict(trial) for trial in reported]
    yield f"## Reported: generator B, {fields} fields of each data set\n\n{report.detection(reported)}"
    yield f"## Said besides\n\n{report.mistaken(reported)}"
    tuned = list(trials(GENERATOR_A, TUNED_ON, fields))
    raw["generator_a"] = [asdict(trial) for trial in tuned]
    yield f"## What the limits were chosen on: generator A\n\n{report.detection(tuned)}"
    clean = list(clean_fields(ALL))
    raw["real_fields"] = [asdict(each) for each in clean]
    yield f"## Real fields as they are\n\n{report.false_alarms(clean)}"
    negatives = inverted_found(ALL)
    raw["negatives"] = negatives
    rows = [(name, f"{found}/{count}") for name, (found, count) in negatives.items()]
    yield f"## Negatives of real fields that are refused\n\n{report.table(('data set', 'refused'), rows)}"
    kidney = [each for each in clean if each.dataset == "kidney najafian"]
    orders = report.kidney_orders(kidney)
    raw["kidney_orders"] = orders
    told = [(name, " < ".join(order)) for name, order in orders.items()]
    by = report.table(("by", "order"), told)
    yield f"## Kidney, in its stated order\n\n{report.kidney(kidney)}\n\n{by}"
    alike = [pairs(name, dataset, fields) for name, dataset in (TUNED_ON | REPORTED_ON).items()]
    raw["pairs"] = [asdict(each) for each in alike]
    yield f"## Duplicates\n\n{report.likenesses(alike)}"


if __name__ == "__main__":
    main()
