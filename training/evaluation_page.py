"""The page that shows an evaluation: figures, robustness as table and plot, comparisons."""

from collections.abc import Iterator
from pathlib import Path

from ultraread.models.evaluation import DerivedField, Evaluation, FieldFigure, Figure

MARKERS = "os^Dv"


def write_page(evaluation: Evaluation, file: Path) -> Path:
    """Write `file` (Markdown) and the plots beside it; return `file`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"# Evaluation of {evaluation.model}", "", "Research use only.", "", *_sets(evaluation)]
    if evaluation.abstention_rate is not None:
        lines += [f"Abstention rate {evaluation.abstention_rate:.3f}. {evaluation.abstention_rule}", ""]
    if evaluation.robustness:
        lines += _robustness(evaluation, file)
    if evaluation.comparisons:
        lines += _comparisons(evaluation)
    file.write_text("\n".join(lines) + "\n")
    return file


def _sets(evaluation: Evaluation) -> Iterator[str]:
    for one in evaluation.sets:
        seen = "**seen in training: figures of memory**" if one.seen_in_training else "not seen in training"
        yield from (
            f"## {one.dataset}",
            "",
            f"{one.fields} fields; specimens {', '.join(one.specimens)}; {seen}.",
            "",
            "| class | figure | value | 95 % interval | resampled |",
            "|---|---|---|---|---|",
        )
        yield from (
            f"| {figure.code} | {figure.metric} | {figure.value:.4g} | {_interval(figure.ci95)} | "
            f"{figure.n} {figure.n_of} |"
            for figure in one.figures
        )
        yield ""
        if one.by_field:
            yield from _by_field(one.by_field)
        if one.derived:
            yield from _derived(one.derived)


def _by_field(rows: tuple[FieldFigure, ...]) -> list[str]:
    return [
        "| class | figure | field | value |",
        "|---|---|---|---|",
        *(f"| {one.code} | {one.metric} | {one.field} | {one.value:.4f} |" for one in rows),
        "",
    ]


def _derived(rows: tuple[DerivedField, ...]) -> list[str]:
    return [
        "| measurement | field | predicted | 95 % interval | true by the masks | error |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one.name} | {one.field} | {one.value:.4f} | {_interval(one.ci95)} | {one.true:.4f} | "
            f"{one.value - one.true:+.4f} |"
            for one in rows
        ),
        "",
    ]


def _robustness(evaluation: Evaluation, file: Path) -> list[str]:
    lines = [
        "## Under artefacts",
        "",
        "| data set | artefact | strength | class | figure | value | 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.dataset} | {row.artefact} | {row.strength:g} {row.unit} | {one.code} | {one.metric} | "
        f"{one.value:.4g} | {_interval(one.ci95)} |"
        for row in evaluation.robustness
        for one in row.figures
    ]
    for dataset in dict.fromkeys(row.dataset for row in evaluation.robustness):
        picture = file.with_name(f"{file.stem}-{dataset}.png")
        draw_robustness(evaluation, dataset, picture)
        lines += ["", f"![AUC of patches on {dataset} by strength of each artefact]({picture.name})"]
    return [*lines, ""]


def _comparisons(evaluation: Evaluation) -> list[str]:
    return [
        "## Against another version",
        "",
        "This model minus the other one, on the same fields; intervals of the paired difference.",
        "",
        "| against | data set | class | figure | difference | 95 % interval | verdict |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one.against} | {one.dataset} | {one.code} | {one.metric} | {one.difference:+.4f} | "
            f"{_interval(one.ci95)} | {one.verdict} |"
            for one in evaluation.comparisons
        ),
        "",
    ]


def draw_robustness(evaluation: Evaluation, dataset: str, file: Path) -> None:
    """AUC of patches with its interval, a panel an artefact, a line a class; unchanged images at the left."""
    from matplotlib.figure import Figure as Canvas

    rows = [row for row in evaluation.robustness if row.dataset == dataset]
    artefacts = list(dict.fromkeys(row.artefact for row in rows))
    plain = next((one.figures for one in evaluation.sets if one.dataset == dataset), ())
    canvas = Canvas(figsize=(2.6 * len(artefacts), 3), layout="constrained")
    axes = canvas.subplots(1, len(artefacts), sharey=True, squeeze=False)[0]
    for panel, artefact in zip(axes, artefacts, strict=True):
        of_artefact = [row for row in rows if row.artefact == artefact]
        labels = ["none", *(f"{row.strength:g}" for row in of_artefact)]
        codes = sorted({one.code for row in of_artefact for one in row.figures})
        for marker, code in zip(MARKERS, codes, strict=False):
            points = [_auc(plain, code), *(_auc(row.figures, code) for row in of_artefact)]
            values = [one.value if one else float("nan") for one in points]
            spread = [[_below(one) for one in points], [_above(one) for one in points]]
            panel.errorbar(range(len(labels)), values, spread, marker=marker, label=code, capsize=2)
        panel.set(title=artefact, xticks=range(len(labels)), xticklabels=labels, xlabel=of_artefact[0].unit)
    axes[0].set_ylabel("AUC of patches")
    axes[0].legend(fontsize="small")
    canvas.savefig(file, dpi=110, metadata={"Software": None})


def _auc(figures: tuple[Figure, ...], code: str) -> Figure | None:
    return next((one for one in figures if (one.metric, one.code) == ("auc_patch", code)), None)


def _below(figure: Figure | None) -> float:
    return max(0.0, figure.value - figure.ci95[0]) if figure else 0.0


def _above(figure: Figure | None) -> float:
    return max(0.0, figure.ci95[1] - figure.value) if figure else 0.0


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4g} to {ends[1]:.4g}"
