"""The page that shows a calibration: reliability diagrams, limits, and what they cover."""

from pathlib import Path

from ultraread.training.calibrate import CalibrationRecord


def write_page(record: CalibrationRecord, file: Path) -> Path:
    """Write `file` and the diagram beside it; return `file`."""
    picture = file.with_suffix(".png")
    draw_reliability(record, picture)
    lines = [
        "# Calibration",
        "",
        "Research use only. From out-of-fold predictions of the recipe's own sections.",
        "",
        f"![Reliability diagrams: mean score against true area fraction of patches]({picture.name})",
        "",
        "| class | temperature | bias | ECE before | after | Brier before | after |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one.code} | {one.temperature:.3f} | {one.bias:+.3f} | {one.ece_before:.4f} | "
            f"{one.ece_after:.4f} | {one.brier_before:.4f} | {one.brier_after:.4f} |"
            for one in record.classes
        ),
        "",
        "`after` is cross-fitted: no patch is judged by a scale that it helped to choose.",
        "",
        "| class | present from | not seen below | operating point |",
        "|---|---|---|---|",
        *(
            f"| {one.code} | {one.present:.4f} | {one.not_seen:.4f} | {one.operating_point} |"
            for one in record.thresholds
        ),
        "",
        "What the limits said of out-of-fold fields of at most 16 tiles (the model's card counts the same on "
        "data sets that were left out):",
        "",
        "| class | fields with | missed | fields without | called present | abstained |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one.code} | {one.fields_with} | {one.misses} | {one.fields_without} | {one.false_calls} | "
            f"{one.abstained} |"
            for one in record.coverage
        ),
        "",
        f"Out-of-domain threshold {record.strangeness_threshold:.4g}: "
        f"{100 * record.strange_fraction_out_of_fold:.1f} % of out-of-fold tiles lie above.",
        "",
    ]
    file.write_text("\n".join(lines))
    return file


def draw_reliability(record: CalibrationRecord, file: Path) -> None:
    """One diagram a class: calibrated points lie on the diagonal, and larger ones hold more patches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(record.reliability), 3.6), layout="constrained")
    for number, (code, rows) in enumerate(sorted(record.reliability.items())):
        axes = figure.add_subplot(1, len(record.reliability), number + 1)
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        largest = max(count for _, _, count in rows)
        sizes = [10 + 150 * count / largest for _, _, count in rows]
        axes.scatter([score for score, _, _ in rows], [true for _, true, _ in rows], sizes, color="#0072B2")
        axes.set(title=code, xlabel="mean score", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_ylabel("true area fraction" if number == 0 else "")
    figure.savefig(file, dpi=110, metadata={"Software": None})
