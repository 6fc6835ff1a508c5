"""Tables of the trials, as Markdown."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from ultraread.datasets.quality.artefacts import RULES, Artefact
from ultraread.datasets.quality.evaluation.trials import ALSO_CALLED, KIDNEY_IN_ORDER, Clean, Pairs, Trial

MEASURES = ("blur_sigma_px", "direction_loss", "band_peak", "straight_line", "row_excess", "grid_excess")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(str(each) for each in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def detection(found: Sequence[Trial]) -> str:
    """Found of laid, by artefact and strength, with the mean overlap of masks; by data set; by its names."""
    datasets = list(dict.fromkeys(trial.dataset for trial in found))
    grouped: dict[tuple[Artefact, float, str], list[Trial]] = defaultdict(list)
    for trial in found:
        grouped[trial.artefact, trial.strength, trial.unit].append(trial)
    rows = [
        (
            RULES[artefact].name,
            f"{strength:g} {unit}",
            _share(group),
            "-" if artefact is Artefact.INVERTED else f"{np.mean([trial.overlap for trial in group]):.2f}",
            *(_share([trial for trial in group if trial.dataset == name]) for name in datasets),
            _called(group) if artefact in ALSO_CALLED else "",
        )
        for (artefact, strength, unit), group in grouped.items()
    ]
    return table(("artefact", "strength", "found", "overlap (IoU)", *datasets, "called"), rows)


def mistaken(found: Sequence[Trial]) -> str:
    """What else was said of fields with a laid artefact, at its greatest strength."""
    strongest = {trial.artefact: trial.strength for trial in found}
    rows = []
    for artefact, strength in strongest.items():
        group = [trial for trial in found if trial.artefact is artefact and trial.strength == strength]
        others = Counter(RULES[other].name for trial in group for other in trial.others)
        told = ", ".join(f"{name} {count}" for name, count in others.most_common()) or "-"
        rows.append((RULES[artefact].name, len(group), told))
    return table(("laid, strongest", "fields", "also said of"), rows)


def false_alarms(fields: Sequence[Clean]) -> str:
    """Fields of each data set of which something was said, with the mean area where it was."""
    datasets = list(dict.fromkeys(field.dataset for field in fields))
    names = [rule.name for rule in RULES.values()]
    rows: list[tuple[str, ...]] = []
    for name in names:
        cells = [_said([field for field in fields if field.dataset == dataset], name) for dataset in datasets]
        rows.append((name, *cells))
    inverted = [
        str(sum(field.looks_inverted for field in fields if field.dataset == name)) for name in datasets
    ]
    rows.append(("looks inverted (refused)", *inverted))
    counts = Counter(field.dataset for field in fields)
    return table(("said of", *(f"{name} ({counts[name]})" for name in datasets)), rows)


def kidney(fields: Sequence[Clean]) -> str:
    """The four kidney images in their stated order, with what was measured of each."""
    by_name = {field.path.rsplit("/", 1)[-1].removesuffix(".png"): field for field in fields}
    rows = []
    for name in KIDNEY_IN_ORDER:
        one = by_name[name]
        said = ", ".join(f"{each} {100 * area:.3g} %" for each, area in one.found.items()) or "-"
        figures = [f"{one.measures.get(each, float('nan')):.2f}" for each in ("blur_sigma_px", "noise_floor")]
        rows.append((name, *figures, f"{100 * one.measures['clipped_fraction']:.3g}", said))
    return table(("image", "blur (px)", "noise (ln of power)", "clipped (%)", "said"), rows)


def kidney_orders(fields: Sequence[Clean]) -> dict[str, list[str]]:
    """Best first by each figure, least blur, noise or clipping first."""
    names = {field.path.rsplit("/", 1)[-1].removesuffix(".png"): field.measures for field in fields}
    measures = ("blur_sigma_px", "noise_floor", "clipped_fraction")
    return {each: sorted(names, key=lambda name: names[name].get(each, 0.0)) for each in measures}


def likenesses(found: Sequence[Pairs]) -> str:
    """How alike copies and strangers are; the limit lies between."""
    limit = RULES[Artefact.DUPLICATE].limit
    rows = []
    for one in found:
        copies = [f"{sum(v >= limit for v in values)}/{len(values)}" for values in one.copies.values()]
        strangers = f"{sum(v >= limit for v in one.strangers)}/{len(one.strangers)}"
        rows.append((one.dataset, *copies, strangers, f"{max(one.strangers, default=0):.2f}"))
    return table(("data set", *found[0].copies, "different fields", "most alike"), rows)


def _called(group: Sequence[Trial]) -> str:
    """How often each name was given; a field may have got two."""
    names = Counter(RULES[name].name for trial in group for name in trial.names)
    return ", ".join(f"{name} {count}" for name, count in names.items()) or "-"


def _share(group: Sequence[Trial]) -> str:
    return f"{sum(trial.found for trial in group)}/{len(group)}"


def _said(fields: Sequence[Clean], name: str) -> str:
    areas = [field.found[name] for field in fields if name in field.found]
    return f"{len(areas)} ({100 * np.mean(areas):.3g} %)" if areas else "0"
