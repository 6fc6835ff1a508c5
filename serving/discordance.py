"""How far two versions of a model are apart on the same slides."""

from collections.abc import Iterable, Sequence

from ultraread.serving.findings import Finding, SlideFindings

AREA = "area_fraction"

Pair = tuple[SlideFindings, SlideFindings]
"""Of one slide: what the champion found and was shown, and what the shadow found."""


def discordance(pairs: Sequence[Pair]) -> dict[str, float]:
    """Figures by class code, over the slides: shadow minus champion.

    `assertion_differs` is the share of slides; the others are means, of areas in points of %.
    A class that only one of the two has is not compared.
    """
    figures: dict[str, float] = {"slides": float(len(pairs))}
    for code in sorted(set().union(*(_codes(shown) & _codes(shadow) for shown, shadow in pairs))):
        both = [(_finding(shown, code), _finding(shadow, code)) for shown, shadow in pairs]
        found = {
            "assertion_differs": _mean(float(a.assertion != b.assertion) for a, b in both),
            "score_difference": _mean(_difference(a.score, b.score) for a, b in both),
            "area_fraction_difference": _mean(_difference(_area(a), _area(b)) for a, b in both),
        }
        figures |= {f"{code}.{name}": value for name, value in found.items() if value is not None}
    return figures


def _codes(findings: SlideFindings) -> set[str]:
    return {finding.code for finding in findings.findings}


def _finding(findings: SlideFindings, code: str) -> Finding:
    return next(finding for finding in findings.findings if finding.code == code)


def _area(finding: Finding) -> float | None:
    return next((one.value for one in finding.measurements if one.name == AREA), None)


def _difference(shown: float | None, shadow: float | None) -> float | None:
    return None if shown is None or shadow is None else shadow - shown


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that there are; None where nothing was assessed."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
